"""One cell of a study as a model that others can use: a transformers folder with a model card."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    # Run as a file: the packages lie beside this folder, and this folder would hide libraries of equal names.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import tyro
from pydantic import BaseModel, ConfigDict, ValidationError
from transformers.utils import logging

from orchestrator.arguments import parse
from orchestrator.printing import escape_output
from orchestrator.redaction import first_line, public
from orchestrator.results.evidence import counts
from orchestrator.study.ledger import FORMAT, Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Trial, load
from orchestrator.tracking.model_registry import register
from orchestrator.tracking.tracker import chosen_uri
from sweeps.model_card import ModelCard
from trainables.config import explain
from trainables.export import export
from trainables.recipes.distill_l2s import DistillL2S

SHOWN = 20
"""Cells that are listed where the fields given do not pick one."""


class Options(BaseModel):
    """Which cell, and where to."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    study: tyro.conf.Positional[str]
    """Folder or URL of the study, such as runs/commonvoice20-mini."""
    to: Path
    """Folder to write; it must not exist, or be empty."""
    language: str | None = None
    """Locale code of the cell."""
    weight: float | None = None
    """λ of the cell."""
    seed: int | None = None
    """Seed of the cell."""
    where: tuple[str, ...] = ()
    """Other fields of the cell's recipe, by dotted path, such as student.encoder.kind=pretrained."""
    data: Path | None = None
    """Folder of the corpus release, where it is not where the recipe has it."""
    student: str | None = None
    """Folder or hub name of the speech encoder, where it is not where the recipe has it."""
    register_as: str | None = None
    """Name in MLflow's model registry, of which the folder becomes a new version."""
    tracking_uri: str | None = None
    """MLflow tracking server; by default MLFLOW_TRACKING_URI, or else the database mlflow.db beside the study."""

    def wanted(self) -> dict[str, Any]:
        """The fields' values, by dotted path.

        Raises ValueError when one has no value.
        """
        wanted: dict[str, Any] = {"corpus.language": self.language, "weight": self.weight, "seed": self.seed}
        wanted = {path: value for path, value in wanted.items() if value is not None}
        for item in self.where:
            path, equals, text = item.partition("=")
            if not equals:
                raise ValueError(f"`where` must be FIELD=VALUE, but is {item!r} instead.")
            try:
                wanted[path] = json.loads(text)
            except ValueError:  # text needs no quotes
                wanted[path] = text
        return wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one finished cell of a study as a transformers folder with a model card.

    Returns the exit code: 0, 1 when the folder cannot be written, 2 for input that cannot be used.
    """
    escape_output()
    options = parse(Options, arguments, description=__doc__)
    logging.disable_progress_bar()
    try:
        print(write(options))
    except ValidationError as error:
        print(public(explain(error)), file=sys.stderr)
        return 2
    except ValueError as error:
        print(public(str(error)), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"The model cannot be written: {first_line(error)}", file=sys.stderr)
        return 1
    return 0


def write(options: Options) -> str:
    """Export the cell; a line on what was done.

    Raises ValueError when the options do not pick one finished cell, or when something that it needs is missing.
    """
    if options.to.exists() and (not options.to.is_dir() or any(options.to.iterdir())):
        raise ValueError(f"`to` must be a folder that does not exist or is empty, but {options.to} is neither.")
    ledger = Ledger(Storage.at(options.study))
    if ledger.storage.local is None:  # a folder need not be writable
        ledger.storage.check()
    trials = read(ledger)
    results = ledger.results(list(trials))
    signature = pick(trials, results, options.wanted())
    recipe, result = trials[signature].recipe, results.get(signature)
    if result is None or result.status != "finished":
        state = f"{result.status}: {result.reason}" if result else "not finished yet"
        raise ValueError(f"The cell must be finished, but {recipe} is {state}.")
    assert isinstance(recipe, DistillL2S)
    with TemporaryDirectory(dir=_parent(options.to), prefix=f".{options.to.name}.") as temporary:
        weights, folder = Path(temporary, "student.safetensors"), Path(temporary, "model")
        folder.mkdir()  # with everybody's permissions, which the temporary folder has not got
        card = _export(ledger, signature, _moved(recipe, options), result, weights, folder)
        (folder / "README.md").write_text(card.markdown(), encoding="utf-8")
        told = f"{recipe}, test CER {card.counts['cer'].rate:.2f} %"
        registered = _register(ledger, signature, folder, told, options) if options.register_as else ""
        folder.rename(options.to)
    return f"{told}: {options.to}{registered}"


def read(ledger: Ledger) -> dict[str, Trial]:
    """The trials of a study by signature.

    Raises ValueError when there is no such study, or when it is of other recipes.
    """
    study = ledger.storage.read("study.json")
    if study is None:
        raise ValueError(f"A study must have a study.json, but {ledger.storage} has none.")
    folder = ledger.storage / "trials"
    signatures = folder.names()
    texts = folder.read_all([f"{signature}/recipe.json" for signature in signatures])
    try:
        found = json.loads(study).get("format")
        if found != FORMAT:
            raise ValueError(f"format {found} instead of {FORMAT}")
        trials = {s: Trial(load(json.loads(text))) for s, text in zip(signatures, texts, strict=True) if text}
    except (ValueError, KeyError, ImportError, AttributeError) as error:
        why = first_line(error)
        raise ValueError(f"A study must be as this program wrote it, but {ledger.storage} is not: {why}.") from error
    for trial in trials.values():
        if not isinstance(trial.recipe, DistillL2S):
            raise ValueError(f"A recipe must be DistillL2S to be exported, but {trial.label} is another.")
    return trials


def pick(trials: Mapping[str, Trial], results: Mapping[str, Result], wanted: Mapping[str, Any]) -> str:
    """The signature of the one trial whose fields have the values that are wanted.

    Raises ValueError when there are several or none, and says which there are.
    """
    fields = {signature: trial.fields for signature, trial in trials.items()}
    for path in wanted:
        if not any(path in found for found in fields.values()):
            raise ValueError(f"`where` must name fields of the recipe, but {path!r} is none.")
    picked = [s for s, found in fields.items() if all(found.get(p) == value for p, value in wanted.items())]
    if len(picked) == 1:
        return picked[0]
    asked = " ".join(f"{path}={value}" for path, value in wanted.items()) or "giving no field"
    listing = _listing({s: trials[s] for s in picked or trials}, results)
    raise ValueError(f"One cell must be picked, but {asked} picks {len(picked) or 'none'} of these:\n{listing}")


def _listing(trials: Mapping[str, Trial], results: Mapping[str, Result]) -> str:
    """A line for each trial, with the fields that tell it from the others."""
    paths = dict.fromkeys(path for trial in trials.values() for path in trial.fields)
    telling = [p for p in paths if len({repr(trial.fields.get(p)) for trial in trials.values()}) > 1]
    lines = []
    for signature, trial in trials.items():
        status = results[signature].status if signature in results else "not finished yet"
        fields = " ".join(f"{path}={trial.fields[path]}" for path in telling if path in trial.fields)
        lines.append(f"  {trial.label} ({status}): {fields}")
    more = [f"  … and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([*sorted(lines)[:SHOWN], *more])


def _export(
    ledger: Ledger, signature: str, recipe: DistillL2S, result: Result, weights: Path, folder: Path
) -> ModelCard:
    try:
        (ledger.trial(signature) / "files").download("student.safetensors", weights)
    except FileNotFoundError as error:
        raise ValueError(f"A trial must have kept its student, but {ledger.trial(signature)} has none.") from error
    kept = {name.rpartition("/")[2]: value for name, value in counts(ledger, signature).items()}
    if not kept:
        raise ValueError(f"A trial must have kept its transcripts, but {ledger.trial(signature)} has none.")
    loaded_by = export(recipe.student, weights, folder)
    trial = f"`{signature}` of the study `{ledger.storage.path.rpartition('/')[2]}`"
    attempts = ledger.history(signature).attempts
    return ModelCard(recipe, trial, result, attempts[-1].commit if attempts else "", kept, loaded_by)


def _register(ledger: Ledger, signature: str, folder: Path, description: str, options: Options) -> str:
    local = ledger.storage.local
    uri = chosen_uri(options.tracking_uri, local.parent if local else None)
    study = ledger.storage.path.rpartition("/")[2]
    name = str(options.register_as)
    version = register(uri, name, study=study, signature=signature, folder=folder, description=description)
    return f", version {version} of {name} in MLflow"


def _moved(recipe: DistillL2S, options: Options) -> DistillL2S:
    """The recipe with the places that its data and its encoder are in now."""
    corpus, student = recipe.corpus, recipe.student
    if options.data is not None:
        corpus = corpus.model_copy(update={"root": str(options.data)})
    if options.student is not None:
        encoder = student.encoder.model_copy(update={"model": options.student})
        student = student.model_copy(update={"encoder": encoder})
    return recipe.model_copy(update={"corpus": corpus, "student": student})


def _parent(folder: Path) -> Path:
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    return parent


if __name__ == "__main__":
    sys.exit(main())
