"""The base of configs that another package brings, as one more alternative beside ours.

A recipe or a prepared split travels to other processes as JSON. Our alternatives, such as corpora, are told apart there
by their `kind`. One of another package brings its type along, `{"type": "package.module:Class", …}`, and is imported by
it, as recipes are: nothing has to be registered.
"""

import inspect
from typing import Any, Literal, Self

from pydantic import ModelWrapValidatorHandler, SerializerFunctionWrapHandler, model_serializer, model_validator
from typing_extensions import override

from trainables.config import Config, imported


class Own(Config):
    """A config that is defined in a package of the user's own, derived from an abstract class that says what for."""

    kind: Literal["own"] = "own"

    @override
    def identity(self) -> dict[str, Any]:
        return {"type": self.type_name(), **super().identity()}

    @model_serializer(mode="wrap")
    def _with_type(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"type": self.type_name(), **fields(self)}

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_type(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, dict):
            return validate(value)
        fields = {name: field for name, field in value.items() if name != "type"}
        if not inspect.isabstract(cls) and value.get("type", cls.type_name()) == cls.type_name():
            return validate(fields)
        return imported(value.get("type"), cls, "type").model_validate(fields)
