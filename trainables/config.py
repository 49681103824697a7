"""Frozen, validated descriptions of things, each with the method that builds or runs what it describes."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Where:
    """Marks a field that says where something lies, never what it is: no part of an identity."""


Location = Annotated[str, Where()]
"""A folder or a hub name."""


class Config(BaseModel):
    """Base of every description. Two configs with one `identity` give the same result, wherever they run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def fingerprint(self) -> str | None:
        """Digest of the outside content that this config points to (data, weights), if it points to any.

        Raises ValueError, naming the thing, when it is not there.
        """
        return None

    def identity(self) -> dict[str, Any]:
        """What decides the result: every field but locations, with fingerprints in their place."""
        identity: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if any(isinstance(mark, Where) for mark in field.metadata):
                continue
            identity[name] = _identity(getattr(self, name))
        if (fingerprint := self.fingerprint()) is not None:
            identity["fingerprint"] = fingerprint
        return identity


def _identity(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, Config):
        return value.identity()
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    return value


def digest(identity: dict[str, Any], length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of the canonical JSON of an identity."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def explain(error: ValidationError) -> str:
    """A validation error as sentences for the person who gave the value."""
    sentences = []
    for detail in error.errors():
        # Tags of unions stand in the location too; they name a type, not a field.
        field = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            sentences.append(f"`{field}` is not a field here.")
        elif detail["type"] == "missing":
            sentences.append(f"`{field}` must be given.")
        elif detail["type"] == "value_error":
            sentences.append(str(detail["ctx"]["error"]))
        else:
            message = detail["msg"].replace("Input should be", "must be").replace("should have", "must have")
            sentences.append(f"`{field}` {message}, but is {detail['input']!r} instead.")
    return "\n".join(sentences)
