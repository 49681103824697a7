"""What the README of an exported model says: what it is, how good, from what data, by what recipe, how to use it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from transformers import PreTrainedModel

from orchestrator.results.statistics import REPLICATIONS, Counts, interval
from orchestrator.study.ledger import Result
from trainables.config import Config, Where
from trainables.recipes.distill_l2s import DistillL2S

PIPELINE = "automatic-speech-recognition"


@dataclass(frozen=True)
class ModelCard:
    """Of one finished trial."""

    recipe: DistillL2S
    trial: str
    """Where its files are: study and signature."""
    result: Result
    commit: str
    """Of the code; empty where it is not known."""
    counts: Mapping[str, Counts]
    """Of the test split, by metric: cer and wer."""
    loaded_by: type[PreTrainedModel]

    def markdown(self) -> str:
        """YAML front matter as the hub's cards have it, then the card.

        Raises ValueError when the data is not there to be named.
        """
        language, encoder = self.recipe.corpus.language, self.recipe.student.encoder
        sections = {
            f"Speech recogniser, {self.recipe}": f"{_name(encoder.model)} with a CTC head over characters, for "
            f"16 kHz speech in the language `{language}`. Made by trial {self.trial} of Distill-L2S.",
            "How good": self._errors(),
            "Use": self._use(),
            "Data": self._data(),
            "Recipe": self._recipe(),
        }
        (title, first), *others = sections.items()
        body = "".join(f"## {heading}\n\n{text}\n\n" for heading, text in others).rstrip()
        return f"---\n{self._metadata()}\n---\n\n# {title}\n\n{first}\n\n{body}\n"

    def _metadata(self) -> str:
        corpus, encoder = self.recipe.corpus, self.recipe.student.encoder
        results = [
            EvalResult(
                task_type=PIPELINE, dataset_type=corpus.kind, dataset_name=corpus.release(),
                dataset_config=corpus.language, dataset_split="test", metric_type=metric,
                metric_value=round(counts.rate, 2),
            )
            for metric, counts in self.counts.items()
        ]  # fmt: skip
        # Whoever publishes the model decides on its licence; that of the data is in the name.
        base = None if encoder.kind == "scratch" or _is_place(encoder.model) else encoder.model
        data = ModelCardData(
            language=corpus.language, license="other", license_name=f"data-{corpus.licence()}".lower().replace(" ", ""),
            license_link="README.md", library_name="transformers", pipeline_tag=PIPELINE, metrics=list(self.counts),
            base_model=base, model_name=str(self.recipe), eval_results=results,
        )  # fmt: skip
        return data.to_yaml()

    def _data(self) -> str:
        corpus, encoder = self.recipe.corpus, self.recipe.student.encoder
        data = (
            f"Trained on the train split of `{corpus.language}` in: {corpus.release()}. "
            f"Licence of the recordings: {corpus.licence()}."
        )
        if encoder.kind == "scratch":
            return data
        return f"{data} The weights also derive from {_name(encoder.model)}, whose own licence applies to them too."

    def _errors(self) -> str:
        rows = []
        for metric, counts in self.counts.items():
            found = interval(counts)
            ends = f"{found.low:.2f} to {found.high:.2f} %" if found else "unknown"
            rows.append(f"| {metric.upper()} | {counts.rate:.2f} % | {ends} |\n")
        one = next(iter(self.counts.values()))
        return (
            f"On the test split, {one.errors.size} utterances, greedy decoding, text normalised as in training:\n\n"
            f"| | rate | 95 % interval |\n| --- | ---: | ---: |\n{''.join(rows)}\n"
            f"Intervals: bootstrap of Bisani and Ney (2004), {REPLICATIONS} replications, blocks by {one.unit}, "
            "expanded percentiles of Hesterberg (2015). "
            f"Tested with matrix products in {self.recipe.optimisation.precision}, where the device has it."
        )

    def _use(self) -> str:
        name, module = self.loaded_by.__name__, self.loaded_by.__module__
        needed = imported = ""
        if not module.startswith("transformers."):
            needed = f"`{name}` is not in transformers: it needs Distill-L2S's code.\n\n"
            imported = f"import {module}  # makes transformers know {name}\n"
        return (
            f"{needed}```python\nimport soundfile\n{imported}from transformers import pipeline\n\n"
            f'recognise = pipeline("{PIPELINE}", model="FOLDER")\n'
            'channels, rate = soundfile.read("FILE.wav", dtype="float32", always_2d=True)\n'
            'print(recognise({"raw": channels.mean(axis=1), "sampling_rate": rate})["text"])\n```\n\n'
            "For more than 30 s add `chunk_length_s=30`. Two spaces in the text stand for one. "
            "With Distill-L2S's code, from sound files of any format and length:\n\n"
            "```\npython -m trainables.transcribe --model FOLDER "
            f"--precision {self.recipe.optimisation.precision} FILE.mp3\n```"
        )

    def _recipe(self) -> str:
        best = self.result.metrics["best_step"]
        fields = json.dumps(_fields(self.recipe), indent=1, ensure_ascii=False)
        made = f"Best checkpoint by validation {self.recipe.selection.upper()}: step {best:.0f}."
        if self.commit:
            made += f" Code: commit `{self.commit}`."
        return f"{made}\n\n```json\n{fields}\n```"


def _fields(config: Config) -> dict[str, Any]:
    """A config's fields, places left out."""
    fields: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            value = _fields(value)
        elif isinstance(value, str) and any(isinstance(mark, Where) for mark in field.metadata):
            value = _name(value)
        fields[name] = value
    return fields


def _is_place(model: str) -> bool:
    return Path(model).is_absolute() or Path(model).is_dir()


def _name(model: str) -> str:
    return Path(model).name if _is_place(model) else model
