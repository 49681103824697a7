"""The README of an exported model: how good it is, how it is used, from what data and by what recipe it was made.

The recipe knows the model, its data and its fields. The sweep knows which trial it was, and hands in the rates with
their intervals: statistics are nothing that a recipe needs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from trainables.config import Config, Where, is_silent


@dataclass(frozen=True)
class Rate:
    """An error rate of the model."""

    test_set: str
    metric: str
    """Its name, such as cer."""
    title: str
    """Its name for a reader, such as CER."""
    percent: float
    interval: tuple[float, float] | None
    """Ends of the 95 % interval, in percent; None where it is not known."""
    utterances: int


@dataclass(frozen=True)
class Dataset:
    """The data of the card, as the hub's cards name it."""

    kind: str
    name: str
    config: str
    """Part of it, such as a language."""
    licence: str


@dataclass(frozen=True)
class Card:
    """All that a recipe says of the model that it has made. Texts are Markdown, and name no place."""

    title: str
    about: str
    """First paragraph, to which the trial is added."""
    method: str
    """Name of the method, after the trial's."""
    task: str
    """The hub's name of the task, such as automatic-speech-recognition."""
    library: str | None
    """The hub's name of the library that loads the model, such as transformers; None where it has none."""
    name: str
    """The model's name in the hub's list of results."""
    language: str | None
    base_model: str | None
    """Name of the hub's model that the weights derive from, where they derive from one of the hub's."""
    dataset: Dataset
    protocol: str
    """How the model was tested: decoding, and the normalisation of the text."""
    tested: str
    """Sentence after the rates' intervals."""
    use: str
    data: str
    choice: str
    """Sentence on which checkpoint the model is."""
    recipe: Mapping[str, Any]
    """The recipe's fields, as `fields` gives them."""

    def markdown(self, trial: str, commit: str, rates: Sequence[Rate], intervals: str) -> str:
        """YAML front matter as the hub's cards have it, then the card.

        `trial` names the trial and its study, `commit` the code that it was made by or is empty, and `intervals` is
        a sentence on how the intervals of the rates were found.
        """
        code = f" Code: commit `{commit}`." if commit else ""
        fields = json.dumps(self.recipe, indent=1, ensure_ascii=False)
        sections = {
            "How good": "\n\n".join([*self._tables(rates), f"{intervals} {self.tested}"]) if rates else "",
            "Use": self.use,
            "Data": self.data,
            "Recipe": f"{self.choice}{code}\n\n```json\n{fields}\n```",
        }
        body = "".join(f"## {heading}\n\n{text}\n\n" for heading, text in sections.items() if text).rstrip()
        made = f"Made by trial {trial} of {self.method}."
        return f"---\n{self._metadata(rates)}\n---\n\n# {self.title}\n\n{self.about} {made}\n\n{body}\n"

    def _tables(self, rates: Sequence[Rate]) -> list[str]:
        tables = []
        for test_set in dict.fromkeys(rate.test_set for rate in rates):
            found = [rate for rate in rates if rate.test_set == test_set]
            ends = ["{:.2f} to {:.2f} %".format(*rate.interval) if rate.interval else "unknown" for rate in found]
            rows = [f"| {r.title} | {r.percent:.2f} % | {e} |" for r, e in zip(found, ends, strict=True)]
            tables.append(
                f"On the {test_set} split, {found[0].utterances} utterances, {self.protocol}:\n\n"
                + "\n".join(["| | rate | 95 % interval |", "| --- | ---: | ---: |", *rows])
            )
        return tables

    def _metadata(self, rates: Sequence[Rate]) -> str:
        results = [
            EvalResult(
                task_type=self.task, dataset_type=self.dataset.kind, dataset_name=self.dataset.name,
                dataset_config=self.dataset.config, dataset_split=rate.test_set, metric_type=rate.metric,
                metric_value=round(rate.percent, 2),
            )
            for rate in rates
        ]  # fmt: skip
        # Whoever publishes the model decides on its licence; that of the data is in the name.
        data = ModelCardData(
            language=self.language, license="other",
            license_name=f"data-{self.dataset.licence}".lower().replace(" ", ""), license_link="README.md",
            library_name=self.library, pipeline_tag=self.task,
            metrics=list(dict.fromkeys(rate.metric for rate in rates)), base_model=self.base_model,
            model_name=self.name, eval_results=results or None,
        )  # fmt: skip
        return data.to_yaml()


def fields(config: Config) -> dict[str, Any]:
    """A config's fields for a card: the name of a place without its path, and no silent fields (see `is_silent`)."""
    found: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if is_silent(field, value):
            continue
        if isinstance(value, Config):
            value = fields(value)
        elif isinstance(value, str) and any(isinstance(mark, Where) for mark in field.metadata):
            value = place_name(value)
        found[name] = value
    return found


def is_place(model: str) -> bool:
    """Whether a model is a folder, and not one of the hub's."""
    return Path(model).is_absolute() or Path(model).is_dir()


def place_name(model: str) -> str:
    """A model's name without the place where it lies."""
    return Path(model).name if is_place(model) else model
