"""Frozen, validated descriptions of things, each with the method that builds or runs what it describes."""

import hashlib
import importlib
import json
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import override

T = TypeVar("T")


class Where:
    """Marks a field that says where something lies or how it is computed, never what it is.

    It is no part of an identity.
    """


@dataclass(frozen=True)
class Since:
    """Marks a field that came after trials had been finished, so that it renames none of them.

    It is no part of an identity while it has the value that does what was done before the field was there.
    """

    before: Any = ...
    """That value; by default, it is the default of the field."""


def absolute(path: str) -> str:
    """A path as every process understands it: absolute, with `~` as the home folder.

    Links and `..` stay as they are: what a link leads to may move, and `..` of a link is not what stands before it.
    Raises ValueError for a path that is not UTF-8: a recipe travels as JSON.
    """
    found = str(Path(os.path.expanduser(path)).absolute())
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"A path must be in UTF-8, but {found!r} is not.") from error
    return found


def _absolute_folder(name: str) -> str:
    """An absolute path where there is such a folder, for which `weights.locate` looks first; else what was given."""
    return absolute(name) if os.path.isdir(os.path.expanduser(name)) else name


# A recipe is validated where a person gives it, and then travels to workers, whose working directory is another.
Folder = Annotated[str, Where(), AfterValidator(absolute)]
"""A folder's path, made absolute."""
Location = Annotated[str, Where(), AfterValidator(_absolute_folder)]
"""A folder's path, made absolute, or a hub name."""


class Config(BaseModel):
    """Base of every description. Two configs with one `identity` give the same result, wherever they run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def fingerprint(self) -> str | None:
        """Digest of the outside content that this config points to (data, weights), if it points to any.

        Raises ValueError, naming the thing, when it is not there.
        """
        return None

    def identity(self) -> dict[str, Any]:
        """The fields that decide the result: all but locations, with the fingerprint in their place."""
        identity: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value, marks = getattr(self, name), field.metadata
            if any(isinstance(mark, Where) for mark in marks):
                continue
            if is_silent(field, value):
                continue
            identity[name] = _identity(value)
        if (fingerprint := self.fingerprint()) is not None:
            identity["fingerprint"] = fingerprint
        return identity

    def places(self) -> dict[str, str]:
        """The fields that say where something lies, by dotted path."""
        found: dict[str, str] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Config):
                found |= {f"{name}.{path}": place for path, place in value.places().items()}
            elif isinstance(value, str) and any(isinstance(mark, Where) for mark in field.metadata):
                found[name] = value
        return found

    @classmethod
    def type_name(cls) -> str:
        """`module:Class`, from which any process can load it."""
        return f"{cls.__module__}:{cls.__qualname__}"

    def signature(self) -> str:
        """Twelve hexadecimal digits that name for ever what this makes: from its type and what decides the result.

        Never from paths, hosts or times. Trials, prepared splits and teacher features are found by it.

            DistillL2S(corpus=CommonVoice(root="/data/cv", language="cs"), weight=0.5, evaluation_seconds=240, …)
            {…,"corpus":{"fingerprint":"5be1…","kind":"common_voice","language":"cs"},…,
             "type":"trainables.recipes.distill_l2s:DistillL2S","weight":0.5}
            SHA-256 of that JSON, its keys sorted, without spaces: the first twelve digits

        Left out are the root and the seconds, which say where and how (`Where`): the digest of the data stands for the
        root. A field that came later (`Since`) is left out while it does what was done before, as if it were not there.
        """
        return digest({"type": self.type_name(), **self.identity()}, 12)


def is_silent(field: FieldInfo, value: Any) -> bool:
    """Whether a field came after trials had been finished, and has the value that does what was done before."""
    since = next((mark for mark in field.metadata if isinstance(mark, Since)), None)
    if since is None:
        return False
    return value == (field.get_default(call_default_factory=True) if since.before is ... else since.before)


class Preparation(Config, ABC):
    """Something that several trials need, made once: addressed by what made it, safe to ask for at any time."""

    accelerated: ClassVar[bool] = False
    """Whether a GPU makes it faster."""
    format: ClassVar[int] = 1
    """Version of the files that it makes; those of another version are made anew."""

    @override
    def identity(self) -> dict[str, Any]:
        """The fields that decide the result, and the format of the files that it is written in."""
        return {"format": self.format, **super().identity()}

    @abstractmethod
    def build(self) -> Path:
        """Make it, unless it is there; returns its folder."""

    @abstractmethod
    def summary(self) -> str:
        """One line on what was made, for the person who waits."""


def _identity(value: Any) -> Any:
    if isinstance(value, Config):
        return value.identity()
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    return value


def digest(identity: dict[str, Any], length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of the canonical JSON of an identity."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def imported(name: object, base: type[T], field: str) -> type[T]:
    """The class that `package.module:Class` names.

    Raises ValueError, which names the `field` that the name was in, where there is none that derives from `base`.
    """
    must = f"`{field}` must name a class that derives from {base.__name__}, package.module:Class,"
    module, _, path = str(name).partition(":")
    try:
        found = getattr(importlib.import_module(module), path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{must} but {name!r} cannot be imported: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, base)) or found is base:
        raise ValueError(f"{must} but {name!r} does not.")
    return found


def explain(error: ValidationError) -> str:
    """A validation error as sentences for the person who gave the value."""
    sentences = []
    for detail in error.errors():
        # Tags of unions stand in the location too; they name a type, not a field.
        field = ".".join(str(part) for part in detail["loc"])
        context = detail.get("ctx", {})
        if detail["type"] == "extra_forbidden":
            sentences.append(f"`{field}` is not a field here.")
        elif detail["type"] == "missing":
            sentences.append(f"`{field}` must be given.")
        elif detail["type"] == "value_error":
            sentences.append(str(context["error"]))
        elif detail["type"] == "union_tag_not_found":
            sentences.append(f"`{field}.{context['discriminator'][1:-1]}` must be given.")
        elif detail["type"] == "union_tag_invalid":
            name, tag, tags = (context[key] for key in ("discriminator", "tag", "expected_tags"))
            sentences.append(f"`{field}.{name[1:-1]}` must be one of {tags}, but is {tag!r} instead.")
        else:
            # "Input should be …", "String should match …", "List should have …"
            message = re.sub(r"^\w+ should ", "must ", detail["msg"])
            sentences.append(f"`{field}` {message}, but is {detail['input']!r} instead.")
    return "\n".join(sentences)
