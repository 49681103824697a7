"""What a study is: recipes, each with the signature that is its name for ever."""

import hashlib
import importlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar


class Preparation(Protocol):
    """Something that several trials share, built once by whoever asks first."""

    def build(self) -> Path:
        """Make it, unless it is there."""
        ...

    def summary(self) -> str:
        """One line on what was made."""
        ...

    def model_dump_json(self) -> str:
        """Its fields."""
        ...


class Recipe(Protocol):
    """All that the orchestrator knows of a recipe: frozen data that runs itself."""

    def identity(self) -> dict[str, Any]:
        """What decides the result."""
        ...

    def preparations(self) -> Sequence[Preparation]:
        """What must be built before `run`, in this order."""
        ...

    def run(self, run: Any) -> dict[str, float]:
        """Train and test."""
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


def signature(recipe: Recipe) -> str:
    """Hash of the type, the canonical JSON and the fingerprints of a recipe: never of paths, hosts or times."""
    identity = {"type": type_name(recipe), **recipe.identity()}
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def type_name(recipe: Any) -> str:
    """`module:Class`, from which any process can load it."""
    return f"{type(recipe).__module__}:{type(recipe).__qualname__}"


@dataclass(frozen=True)
class Trial:
    """One recipe of a study."""

    recipe: Recipe

    @cached_property
    def signature(self) -> str:
        """The trial's name."""
        return signature(self.recipe)

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(self.recipe)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The recipe's fields by dotted path."""
        return dict(_flatten(json.loads(self.recipe.model_dump_json()), ""))  # pyright: ignore

    def describe(self) -> dict[str, Any]:
        """JSON from which `load` makes the recipe again, in a process that has imported nothing yet."""
        return {"type": type_name(self.recipe), "fields": json.loads(self.recipe.model_dump_json())}  # pyright: ignore


def load(description: dict[str, Any]) -> Recipe:
    """The recipe that `Trial.describe` described."""
    module, name = description["type"].split(":")
    return getattr(importlib.import_module(module), name).model_validate(description["fields"])


def _flatten(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [item for k, v in value.items() for item in _flatten(v, f"{path}.{k}" if path else k)]
    return [(path, value)]


@dataclass(frozen=True)
class Resources:
    """What one trial takes of the cluster."""

    workers: int = 1
    cpus: float = 1
    """Of each worker."""
    gpus: float = 0
    """Of each worker; a fraction shares a GPU between trials."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus", 0), ("gpus", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, but is {getattr(self, name)} instead.")

    def per_worker(self) -> dict[str, float]:
        """In Ray's words."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


@dataclass(frozen=True)
class Sweep:
    """A named study."""

    name: str
    recipes: Sequence[Recipe]
    resources: Resources = Resources()

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Its trials; recipes of one signature are one trial."""
        return tuple({trial.signature: trial for trial in map(Trial, self.recipes)}.values())

    def preparations(self, trials: Sequence[Trial]) -> list[list[Preparation]]:
        """Chains of distinct preparations that these trials need; what shares no link can be built at once."""
        chains: dict[str, dict[str, Preparation]] = {}
        for trial in trials:
            ordered = {f"{type_name(p)} {p.model_dump_json()}": p for p in trial.recipe.preparations()}
            chains.setdefault(next(iter(ordered), ""), {}).update(ordered)
        return [list(chain.values()) for chain in chains.values()]
