"""The interface of a speech corpus, and the base of corpora that other packages bring.

A corpus is a config: it says where its data lies and how it is read, and names its splits itself. Preparation
(`prepared.py`) asks it for the utterances of a split and for nothing else that depends on how it is stored.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import ModelWrapValidatorHandler, SerializerFunctionWrapHandler, model_serializer, model_validator
from typing_extensions import override

from trainables.batch import Rejected, Utterance
from trainables.config import Config, imported


class SpeechCorpus(Config, ABC):
    """Recorded sentences of one language, in named splits."""

    language: str
    """Code of the language, as tables and model cards name it: cs, pt, zh-CN."""

    def __str__(self) -> str:
        return self.language

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits. A corpus may have others than these, and several test sets."""
        return "train", "valid", "test"

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of what its utterances are labelled in: `action`, `object`; by default nothing."""
        return ()

    @abstractmethod
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        """The utterances of one of `splits`, always in the same order; a malformed one comes as `Rejected`.

        Raises ValueError when the split cannot be read at all.
        """

    @abstractmethod
    def release(self) -> str:
        """The name of this data in tables: which corpus, which release."""

    @abstractmethod
    def licence(self) -> str:
        """The licence of the recordings."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of the content: another one whenever an utterance changes, and the same wherever the data lies.

        Every process that names a trial asks for it, so that it must not take long: names and sizes of sound files
        will do, as long as the transcripts are read. Raises ValueError when the data is not there.
        """


class OwnCorpus(SpeechCorpus):
    """Base of a corpus that is defined elsewhere, in a package of the user's own.

    A recipe or a prepared split travels to other processes as JSON. Our corpora are told apart there by their `kind`;
    one of these brings its type along, `{"type": "package.module:Class", …}`, and is imported by it, as recipes are.
    So whatever takes a `Corpus` takes it too, and nothing has to be registered.
    """

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
        if cls is not OwnCorpus and value.get("type", cls.type_name()) == cls.type_name():
            return validate(fields)
        return imported(value.get("type"), cls, "corpus.type").model_validate(fields)
