"""One cell of a study as a model that others can use: a folder in the form of its recipe, with a model card.

--FIELD VALUE picks the cells whose recipe has this value, for any field of the recipe: FIELD is its dotted path or,
where that is clear, the end of it, as in --seed 1.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

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
from orchestrator.results.statistics import REPLICATIONS, interval
from orchestrator.study.ledger import FORMAT, Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Trial, grid, load
from orchestrator.study.value import Value
from orchestrator.tracking.model_registry import register
from orchestrator.tracking.tracker import chosen_uri
from trainables.config import explain
from trainables.export.card import Rate
from trainables.recipes.recipe import Recipe

SHOWN = 20
"""Cells that are listed where the fields given do not pick one."""


class Options(BaseModel):
    """Which cell, and where to."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    study: tyro.conf.Positional[str]
    """Folder or URL of the study, such as runs/commonvoice20-mini."""
    to: Path
    """Folder to write; it must not exist, or be empty."""
    where: tuple[str, ...] = ()
    """Values of the recipe's fields as FIELD=VALUE, such as student.encoder.kind=pretrained."""
    data: Path | None = None
    """Place of the recipe's corpus, where that is not where the recipe has it."""
    student: str | None = None
    """Place of the recipe's student, a folder or a hub name, where that is not where the recipe has it."""
    register_as: str | None = None
    """Name in MLflow's model registry, of which the folder becomes a new version."""
    tracking_uri: str | None = None
    """MLflow tracking server; by default MLFLOW_TRACKING_URI, or else the database mlflow.db beside the study."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one finished cell of a study as a folder with a model card.

    Returns the exit code: 0, 1 when the folder cannot be written, 2 for input that cannot be used.
    """
    escape_output()
    logging.disable_progress_bar()
    try:
        ours, of_the_recipe = split(sys.argv[1:] if arguments is None else arguments)
        options = parse(Options, ours, description=__doc__)
        print(write(options.model_copy(update={"where": (*options.where, *of_the_recipe)})))
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


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that are options of this program, and the others, `--FIELD VALUE`, as FIELD=VALUE.

    Raises ValueError when a field has no value.
    """
    ours, of_the_recipe, left = [], [], list(arguments)
    while left:
        name, equals, value = (argument := left.pop(0)).removeprefix("--").partition("=")
        field = name.replace("-", "_")
        if not argument.startswith("--") or field in Options.model_fields or field == "help":
            ours.append(argument)
            continue
        if not equals:
            if not left or left[0].startswith("--"):
                raise ValueError(f"`{argument}` must have a value, but has none.")
            value = left.pop(0)
        of_the_recipe.append(f"{field}={value}")
    return ours, of_the_recipe


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
    signature = pick(trials, results, options.where)
    recipe, result = trials[signature].recipe, results.get(signature)
    if result is None or result.status != "finished":
        state = f"{result.status}: {result.reason}" if result else "not finished yet"
        raise ValueError(f"The cell must be finished, but {recipe} is {state}.")
    with TemporaryDirectory(dir=_parent(options.to), prefix=f".{options.to.name}.") as temporary:
        folder = Path(temporary, "model")
        folder.mkdir()  # with everybody's permissions, which the temporary folder has not got
        told = _export(ledger, signature, _moved(cast(Recipe, recipe), options), result, folder, Path(temporary))
        registered = _register(ledger, signature, folder, told, options) if options.register_as else ""
        folder.rename(options.to)
    return f"{told}: {options.to}{registered}"


def read(ledger: Ledger) -> dict[str, Trial]:
    """The trials of a study by signature.

    Raises ValueError when there is no such study, or when its recipes cannot be loaded.
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
        return {s: Trial(load(json.loads(text))) for s, text in zip(signatures, texts, strict=True) if text}
    except (ValueError, KeyError, ImportError, AttributeError) as error:
        why = first_line(error)
        raise ValueError(f"A study must be as this program wrote it, but {ledger.storage} is not: {why}.") from error


def pick(trials: Mapping[str, Trial], results: Mapping[str, Result], where: Sequence[str]) -> str:
    """The signature of the one trial whose fields have the values of `where`, each FIELD=VALUE.

    Raises ValueError when there are several or none, and says which there are.
    """
    fields = {signature: trial.fields for signature, trial in trials.items()}
    paths = {path for found in fields.values() for path in found}
    wanted = {}
    for item in where:
        name, equals, text = item.partition("=")
        if not equals:
            raise ValueError(f"`where` must be FIELD=VALUE, but is {item!r} instead.")
        wanted[_path(name, paths)] = text
    picked = [s for s, found in fields.items() if all(_is(found.get(path), text) for path, text in wanted.items())]
    if len(picked) == 1:
        return picked[0]
    asked = " ".join(f"{path}={text}" for path, text in wanted.items()) or "giving no field"
    listing = _listing({s: trials[s] for s in picked or trials}, results)
    raise ValueError(f"One cell must be picked, but {asked} picks {len(picked) or 'none'} of these:\n{listing}")


def _path(name: str, paths: set[str]) -> str:
    """The dotted path that ends in `name`; of several the shortest."""
    ending = {path for path in paths if f".{path}".endswith(f".{name}")}
    shortest = min((path.count(".") for path in ending), default=0)
    found = sorted(path for path in ending if path.count(".") == shortest)
    if len(found) > 1:
        raise ValueError(f"`where` must name one field of the recipe, but {name!r} may be {' or '.join(found)}.")
    if not found:
        raise ValueError(f"`where` must name fields of the recipe, but {name!r} is none.")
    return found[0]


def _is(value: Any, text: str) -> bool:
    """Whether a field has the value that was typed, which needs no quotes where it is a text."""
    try:
        return value == text or value == json.loads(text)
    except ValueError:
        return False


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


def _export(ledger: Ledger, signature: str, recipe: Recipe, result: Result, folder: Path, temporary: Path) -> str:
    """Write the model and its card into `folder`; a line on the model."""
    files = ledger.trial(signature) / "files"
    kept = files.local
    if kept is None:
        kept = temporary / "kept"
        kept.mkdir()
        files.download_all(kept)
    card = recipe.export(kept, result.metrics, folder)
    rates, intervals = _rates(ledger, signature)
    attempts = ledger.history(signature).attempts
    trial = f"`{signature}` of the study `{_name(ledger)}`"
    text = card.markdown(trial, attempts[-1].commit if attempts else "", rates, intervals)
    (folder / "README.md").write_text(text, encoding="utf-8")
    best = [f"{rate.test_set} {rate.title} {rate.percent:.2f} %" for rate in rates[:1]]
    return ", ".join([str(recipe), *best])


def _rates(ledger: Ledger, signature: str) -> tuple[list[Rate], str]:
    """The trial's error rates, from the utterances that it kept, and a sentence on their intervals."""
    found = counts(ledger, signature)
    values = [(Value(name), one) for name, one in found.items()]
    rates = [
        Rate(value.set, value.metric, value.title, one.rate, interval(one), one.errors.size) for value, one in values
    ]
    unit = next((one.unit for one in found.values()), "utterance")
    return rates, (
        f"Intervals: bootstrap of Bisani and Ney (2004), {REPLICATIONS} replications, blocks by {unit}, "
        "expanded percentiles of Hesterberg (2015)."
    )


def _register(ledger: Ledger, signature: str, folder: Path, description: str, options: Options) -> str:
    local = ledger.storage.local
    uri = chosen_uri(options.tracking_uri, local.parent if local else None)
    name = str(options.register_as)
    version = register(uri, name, study=_name(ledger), signature=signature, folder=folder, description=description)
    return f", version {version} of {name} in MLflow"


def _moved(recipe: Recipe, options: Options) -> Recipe:
    """The recipe with the places that its corpus and its student are in now."""
    for part, option, place in (("corpus", "data", options.data), ("student", "student", options.student)):
        if place is None:
            continue
        found = [path for path in recipe.places() if path.startswith(f"{part}.")]
        if len(found) != 1:
            raise ValueError(f"`{option}` must be the one place of the recipe's {part}, but {recipe} has {len(found)}.")
        (recipe,) = grid(recipe, {found[0]: [str(place)]})
    return recipe


def _name(ledger: Ledger) -> str:
    return ledger.storage.path.rpartition("/")[2]


def _parent(folder: Path) -> Path:
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    return parent


if __name__ == "__main__":
    sys.exit(main())
