"""Decoding with a word n-gram as a recipe asks for it: which language, which search, and how it is tuned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from trainables.config import Config
from trainables.corpora.text import CharacterVocabulary
from trainables.decoding.beam import PrefixBeam
from trainables.decoding.decoder import Decoder
from trainables.decoding.flashlight import Flashlight
from trainables.decoding.language import ArpaFile, Estimated, LanguageSource
from trainables.decoding.tuning import Tuning
from trainables.language import arpa
from trainables.language.ngram import ORDERS

LARGEST = 1_000_000
"""N-grams of the largest model that the project's own search is to read."""
Search = Annotated[PrefixBeam | Flashlight, Field(discriminator="kind")]


class NgramDecoding(Config):
    """A language, a search and a grid of weights. To be built before training, so that what it lacks is said then."""

    language: LanguageSource = Estimated()
    search: Search = PrefixBeam()
    tuning: Tuning = Tuning()

    def build(self, vocabulary: CharacterVocabulary, texts: Sequence[str]) -> Decoder:
        """The decoder for a student's vocabulary; `texts` are the training split's normalised transcripts.

        Raises ValueError where the language's files are damaged, or the search is not installed or cannot read them.
        """
        return self.search.build(vocabulary, self.language.build(vocabulary, texts))


def of_file(file: str, lexicon: Path | None = None) -> NgramDecoding:
    """The decoding with the model of an ARPA file: by flashlight where it is large or of over four words, else ours.

    Raises ValueError where a file cannot be used, or flashlight is needed and not installed.
    """
    source = ArpaFile(file=file, lexicon=None if lexicon is None else str(lexicon))
    source.fingerprint()
    counts = arpa.counts(Path(source.file))
    if sum(counts) <= LARGEST and len(counts) in ORDERS:
        return NgramDecoding(language=source)
    search = Flashlight()
    search.check()
    return NgramDecoding(language=source, search=search)
