"""A study: recipes, each with the signature that is its name for ever, and the recipes that these need.

A recipe may start from what another has made: a distilled student that nine fine-tunings share, or a teacher that is
itself fine-tuned. Such a need is a trial like any other, with its place in the ledger, checkpoints, resources, a run in
MLflow and resumption; it is trained once, however many recipes need it, and before any of them begins. It differs from
the trials that the sweep lists in that no table shows it and no scheduler stops it early.
"""

import importlib
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from orchestrator.study.value import Value


class Preparation(Protocol):
    """Something that several trials share, built once by whoever asks first."""

    accelerated: ClassVar[bool]
    """Whether a GPU makes it faster."""

    def build(self) -> Path:
        """Make it, unless it is there."""
        ...

    def summary(self) -> str:
        """One line on what was made."""
        ...

    def model_dump_json(self) -> str:
        """Its fields."""
        ...

    def type_name(self) -> str:
        """`module:Class`, from which any process can load it."""
        ...


class Recipe(Protocol):
    """All that the orchestrator knows of a recipe: frozen data that runs itself."""

    def type_name(self) -> str:
        """`module:Class`, from which any process can load it."""
        ...

    def signature(self) -> str:
        """The name for ever of what it makes, from its type and its identity."""
        ...

    def identity(self) -> dict[str, Any]:
        """The values that decide the result."""
        ...

    def preparations(self) -> Sequence[Preparation]:
        """All that must be built before `run`, in this order."""
        ...

    def needs(self) -> "Sequence[Recipe]":
        """Recipes that must be finished before `run`, which starts from their results; none of them is this one."""
        ...

    def reports(self) -> Sequence[str]:
        """Names of the values that its reports and its result have; none where they are not known before it is run."""
        ...

    def run(self, run: Any) -> dict[str, float]:
        """Train and test."""
        ...

    def probe(self) -> Mapping[str, float]:
        """How long one training step takes on this device, `seconds`, and the model's `parameters`."""
        ...

    @property
    def steps(self) -> int:
        """Number of training steps."""
        ...

    def model_dump(self) -> dict[str, Any]:
        """Its fields."""
        ...


R = TypeVar("R")


def grid(recipe: R, axes: Mapping[str, Sequence[Any]]) -> list[R]:
    """`recipe` once for each combination of the values of `axes`, whose names are dotted paths of fields."""
    recipes = []
    for values in itertools.product(*axes.values()):
        fields = recipe.model_dump()  # pyright: ignore[reportAttributeAccessIssue]
        for path, value in zip(axes, values, strict=True):
            *parents, name = path.split(".")
            target = fields
            for parent in parents:
                target = target[parent]
            if name not in target:
                raise ValueError(f"An axis must be a field of the recipe, but {path!r} is none.")
            target[name] = value
        recipes.append(type(recipe).model_validate(fields))  # pyright: ignore[reportAttributeAccessIssue]
    return recipes


@dataclass(frozen=True)
class StoredTrial:
    """A trial as a study's ledger describes it, to whoever cannot load its recipe."""

    signature: str
    label: str
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, signature: str, description: Mapping[str, Any]) -> "StoredTrial":
        """Make it from what `Trial.describe` gave; one that an older version wrote has no label."""
        return cls(signature, description.get("label", signature), dict(_flatten(description["fields"], "")))


@dataclass(frozen=True)
class Trial:
    """One recipe of a study."""

    recipe: Recipe

    @cached_property
    def signature(self) -> str:
        """The trial's name."""
        return self.recipe.signature()

    @property
    def label(self) -> str:
        """Its name for a person."""
        return str(self.recipe)

    @cached_property
    def needs(self) -> "tuple[Trial, ...]":
        """The trials that must be finished before it begins; needs of these are not among them."""
        return tuple(map(Trial, self.recipe.needs()))

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The recipe's fields by dotted path."""
        return dict(_flatten(json.loads(self.recipe.model_dump_json()), ""))  # pyright: ignore

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Digests of its data and its models, by dotted path."""
        identity = _flatten(json.loads(json.dumps(self.recipe.identity())), "")
        return {path: value for path, value in identity if path.rpartition(".")[2] == "fingerprint"}

    def describe(self) -> dict[str, Any]:
        """JSON from which `load` makes the recipe again, in a process that has imported nothing yet.

        The signatures of its needs, in their order, spare a worker to look at their data for them.
        """
        fields = json.loads(self.recipe.model_dump_json())  # pyright: ignore
        needs = {"needs": [need.signature for need in self.needs]} if self.needs else {}
        return {"type": self.recipe.type_name(), "label": self.label, "fields": fields, **needs}


AnyTrial = Trial | StoredTrial
"""A trial for tables and reports, which ask for its signature, label and fields alone."""


def load(description: dict[str, Any]) -> Recipe:
    """The recipe that `Trial.describe` described."""
    module, name = description["type"].split(":")
    return getattr(importlib.import_module(module), name).model_validate(description["fields"])


def _with_needs(trial: Trial, listed: Mapping[str, Trial], above: tuple[str, ...] = ()) -> dict[str, Trial]:
    """A trial and all that it needs, directly or not, by signature; each comes before what starts from it.

    `listed` trials stand for needs of their signatures; `above` are the signatures of those that need this one.
    """
    if trial.signature in above:
        raise ValueError(f"A recipe must not need itself, but {trial.label!r} does.")
    found: dict[str, Trial] = {}
    for need in trial.needs:
        found |= _with_needs(need, listed, (*above, trial.signature))
    return found | {trial.signature: listed.get(trial.signature, trial)}


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _flatten(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [item for k, v in value.items() for item in _flatten(v, f"{path}.{k}" if path else k)]
    return [(path, value)]


@dataclass(frozen=True)
class Resources:
    """The part of the cluster that one trial takes."""

    workers: int = 1
    cpus: float = 1
    """CPUs for each worker."""
    gpus: float = 0
    """GPUs for each worker; a fraction shares a GPU between trials."""
    most_workers: int | None = None
    """Elastic trials start with `workers` and grow to this many where there is room."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus", 0), ("gpus", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, but is {getattr(self, name)} instead.")
        if self.most_workers is not None and self.most_workers < self.workers:
            raise ValueError(
                f"`most_workers` must be at least `workers`, which is {self.workers}, "
                f"but is {self.most_workers} instead."
            )

    def __str__(self) -> str:
        each = " and ".join(f"{amount:g} {name}" for name, amount in self.per_worker().items() if amount)
        most = f" to {self.most_workers}" if self.most_workers else ""
        return f"{self.workers}{most} × ({each or 'nothing'})"

    def fitting(self, free: Mapping[str, float], most: int) -> int:
        """Workers that fit into what is free: at least `workers`, at most `most`."""
        room = [int(free.get(name, 0) / amount + 1e-6) for name, amount in self.per_worker().items() if amount]
        return max(self.workers, min([most, *room]))

    def per_worker(self) -> dict[str, float]:
        """Amounts by resource, as Ray names them."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


@dataclass(frozen=True)
class Sweep:
    """A named study."""

    name: str
    recipes: Sequence[Recipe]
    resources: Resources = Resources()
    axes: Sequence[str] = field(kw_only=True)
    """Fields, by dotted path, in which its trials may differ; the first tells apart what is never compared, whose data
    may change: what they gave before is then replaced."""
    metric: Value | None = None
    """The reported validation value that a trial is judged by while it trains: progress shows it, and a scheduler that
    stops the worse trials of a row goes by it."""

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """The trials of the recipes that it lists, which its tables show; recipes of one signature are one trial.

        They are of one type, and differ in the axes alone: a table would set side by side what is not comparable.
        Raises ValueError where they do not. Needs are other recipes, of which the rule says nothing.
        """
        trials = tuple({trial.signature: trial for trial in map(Trial, self.recipes)}.values())
        seen: dict[str, tuple[Any, Trial]] = {}
        for trial in trials:
            found = self._beside_axes(trial)
            lacking = {path: None for path in seen.keys() - found.keys() if not self._of_a_kind(path)}
            for path, value in sorted((found | lacking).items()):
                if path not in seen and trial is not trials[0] and not self._of_a_kind(path):
                    seen[path] = None, trials[0]
                other, first = seen.setdefault(path, (value, trial))
                if value != other:
                    raise ValueError(
                        f"The recipes of a study must differ in its axes alone, {', '.join(self.axes)}, but {path!r} "
                        f"is {other!r} in {first.label!r} and {value!r} in {trial.label!r}."
                    )
        return trials

    @cached_property
    def everything(self) -> tuple[Trial, ...]:
        """Its trials and all that they need, directly or not, each once and before what starts from it.

        Raises ValueError for a recipe that needs itself, and where `trials` does.
        """
        listed = {trial.signature: trial for trial in self.trials}
        found: dict[str, Trial] = {}
        for trial in self.trials:
            found |= _with_needs(trial, listed)
        return tuple(found.values())

    @cached_property
    def needed(self) -> frozenset[str]:
        """Signatures of the trials that others start from, whether it lists them or not."""
        return frozenset(need.signature for trial in self.everything for need in trial.needs)

    def missing(self, settled: Collection[str]) -> list[Trial]:
        """The trials to run where those with the `settled` signatures are left as they are, needs first.

        A need is run only where something that is missing starts from it.
        """
        wanted = {trial.signature for trial in self.trials}
        found = []
        for trial in reversed(self.everything):
            if trial.signature in wanted and trial.signature not in settled:
                found.append(trial)
                wanted.update(need.signature for need in trial.needs)
        return found[::-1]

    def _of_a_kind(self, path: str) -> bool:
        """Whether a field may be there for some trials only: an axis chooses between types that have other fields."""
        return any(path.startswith(axis.removesuffix("kind")) for axis in self.axes if axis.endswith(".kind"))

    @cached_property
    def common(self) -> dict[str, Any]:
        """The values that decide the results of all its trials alike, by dotted path: their identity but for the axes.

        The fingerprint of a config with an axis in it goes with that axis, and is among `models`.
        """
        everything = [self._beside_axes(trial) for trial in self.trials]
        return {path: value for found in everything for path, value in found.items() if value is not None}

    def _beside_axes(self, trial: Trial) -> dict[str, Any]:
        identity = dict(_flatten(json.loads(json.dumps(trial.recipe.identity())), ""))
        beside = {f"{_parent(axis)}.fingerprint" for axis in self.axes}
        return {"type": trial.recipe.type_name()} | {
            path: value
            for path, value in identity.items()
            if path not in beside and not any(path == axis or path.startswith(f"{axis}.") for axis in self.axes)
        }

    @cached_property
    def models(self) -> dict[str, str]:
        """The fingerprints beside axes other than the first, by dotted path and the values of those axes."""
        found = {}
        parents = dict.fromkeys(_parent(axis) for axis in self.axes[1:])
        for trial in self.trials:
            for parent in parents:
                if (fingerprint := trial.fingerprints.get(f"{parent}.fingerprint")) is not None:
                    values = [trial.fields.get(axis) for axis in self.axes if _parent(axis) == parent]
                    which = ", ".join(str(value) for value in values if value is not None)
                    found[f"{parent}.fingerprint ({which})"] = fingerprint
        return found

    def preparations(self, trial: Trial) -> list[Preparation]:
        """All that must be built before a trial, in order."""
        return list(trial.recipe.preparations())
