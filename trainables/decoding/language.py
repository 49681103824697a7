"""Where the words and the n-grams of a decoder come from: transcripts, or a file that somebody made."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from typing_extensions import override

from trainables.batch import Utterance
from trainables.cache import sha256_of
from trainables.config import Config, Where, absolute, digest
from trainables.corpora.corpus import Corpus
from trainables.corpora.text import CharacterVocabulary, Letters, Normaliser
from trainables.decoding.lexicon import Lexicon
from trainables.language import arpa
from trainables.language.kneser_ney import estimate
from trainables.language.ngram import ORDERS, Ngram

File = Annotated[str, Where(), AfterValidator(absolute)]
"""A file's path, made absolute."""


def _absolute_if_given(path: str | None) -> str | None:
    return None if path is None else absolute(path)


@dataclass(frozen=True)
class Language:
    """A word n-gram model, in memory or in an ARPA file, and the words of it that a decoder may write."""

    model: Ngram | Path
    lexicon: Lexicon

    @cached_property
    def ngram(self) -> Ngram:
        """The model in memory. Raises ValueError where the file is damaged or has n-grams of over 4 words."""
        return self.model if isinstance(self.model, Ngram) else arpa.read(self.model)

    @contextmanager
    def file(self) -> Iterator[Path]:
        """The model's ARPA file, for as long as the block lasts."""
        if isinstance(self.model, Path):
            yield self.model
            return
        with TemporaryDirectory(prefix="language-") as folder:
            arpa.write(self.model, Path(folder, "model.arpa"))
            yield Path(folder, "model.arpa")


class Estimated(Config):
    """Modified Kneser-Ney of the training split's transcripts, all of them where the student learns from a part."""

    kind: Literal["estimated"] = "estimated"
    order: Annotated[int, Field(ge=ORDERS[0], le=ORDERS[-1])] = 4
    """Words in its longest n-grams."""

    def build(self, vocabulary: CharacterVocabulary, texts: Sequence[str]) -> Language:
        """The model of normalised `texts`. Words that the vocabulary's letters cannot write are in no lexicon."""
        ngram = estimate((text.split() for text in texts), self.order)
        return Language(ngram, Lexicon.of(ngram.words, vocabulary))


class FromCorpus(Config):
    """Modified Kneser-Ney of all training transcripts of a corpus, of which the student may have heard a part."""

    kind: Literal["from_corpus"] = "from_corpus"
    corpus: Corpus
    normaliser: Normaliser = Letters()
    order: Annotated[int, Field(ge=ORDERS[0], le=ORDERS[-1])] = 4
    """Words in its longest n-grams."""

    def build(self, vocabulary: CharacterVocabulary, texts: Sequence[str] = ()) -> Language:
        """The model of the corpus's transcripts, whatever the `texts` are.

        Raises ValueError where the corpus cannot be read, or has no transcripts.
        """
        spoken = (found.text for found in self.corpus.utterances("train") if isinstance(found, Utterance))
        return Estimated(order=self.order).build(vocabulary, [self.normaliser(text) for text in spoken if text])


class ArpaFile(Config):
    """A model that somebody else has made, such as LibriSpeech's 4-gram."""

    kind: Literal["arpa_file"] = "arpa_file"
    file: File
    """An ARPA file, plain or in gzip."""
    lexicon: Annotated[str | None, Where(), AfterValidator(_absolute_if_given)] = None
    """A file of words and spellings in lines such as `word`, a tab, `w o r d |`; by default the model's words, by
    letters."""

    @override
    def fingerprint(self) -> str:
        """Digest of both files. Raises ValueError when one is not there, or the ARPA file does not begin as one."""
        arpa.counts(Path(self.file))
        if self.lexicon is not None and not os.path.isfile(self.lexicon):
            raise ValueError(f"`lexicon` must be a file, but {self.lexicon} is none.")
        paths = [Path(file) for file in (self.file, self.lexicon) if file is not None]
        return _digest(tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths))

    def build(self, vocabulary: CharacterVocabulary, texts: Sequence[str] = ()) -> Language:
        """The model of the file, whatever the `texts` are; its n-grams are read when they are asked for.

        Raises ValueError where a file is damaged, or a spelling cannot be written in the vocabulary's letters.
        """
        if self.lexicon is None:
            return Language(Path(self.file), Lexicon.of(arpa.words(Path(self.file)), vocabulary))
        return Language(Path(self.file), Lexicon.read(Path(self.lexicon), vocabulary))


LanguageSource = Annotated[Estimated | FromCorpus | ArpaFile, Field(discriminator="kind")]


@cache
def _digest(stats: tuple[tuple[str, int, int], ...]) -> str:
    return digest({str(i): sha256_of(Path(path)) for i, (path, _, _) in enumerate(stats)})
