"""The interface of a speech corpus, and the base of corpora that other packages bring.

A corpus is a config: it says where its data lies and how it is read, and names its splits itself. Preparation
(`prepared.py`) asks it for the utterances of a split and for nothing else that depends on how it is stored.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

from typing_extensions import override

from trainables.batch import Rejected, Utterance
from trainables.config import Config
from trainables.own import Own


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


class OwnCorpus(Own, SpeechCorpus):
    """Base of a corpus that is defined in a package of the user's own; whatever takes a `Corpus` takes it too."""

    @override
    def fingerprint(self) -> str:
        """Digest of all utterances: their names, transcripts, speakers and labels, and the sizes of the sounds.

        It reads every transcript whenever it is asked, which is often: a large corpus remembers it, or has a digest of
        its own. Raises ValueError when a split is empty or cannot be read.
        """
        found = hashlib.sha256()
        for split in self.splits:
            try:
                seen = [_seen(item) for item in self.utterances(split)]
            except OSError as error:
                raise ValueError(f"The split {split!r} must be readable, but is not: {error}.") from error
            if not seen:
                raise ValueError(f"The split {split!r} of {self.release()} must have utterances, but has none.")
            found.update(f"{seen}\n".encode())
        return found.hexdigest()[:16]


def _seen(item: Utterance | Rejected) -> tuple[object, ...]:
    """The parts of an utterance that a fingerprint is made of."""
    if isinstance(item, Rejected):
        return tuple(item)
    size = len(item.audio) if isinstance(item.audio, bytes) else item.audio.stat().st_size
    return item.id, size, item.text, item.speaker, sorted(item.labels.items())
