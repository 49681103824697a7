"""The same search by flashlight-text, in C++, with its KenLM: for lexicons of 200 000 words and n-grams of any order.

What it does otherwise is made equal here. Its KenLM has log10 where `Fusion` has ln. Its words end with a delimiter, so
that one certain delimiter is put after the last frame, where a student says none. It knows no unknown token, which a
text has no more than a blank. It adds up alignments only as `log_add` (fairseq takes the best one alone). And it keeps
no candidate apart that differs only in how its spaces are said, as `beam.py` does not.
"""

import math
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from trainables.config import Config
from trainables.corpora.text import DELIMITER, CharacterVocabulary
from trainables.decoding.decoder import Candidate, Decoder, Fusion, LogProbabilities
from trainables.decoding.language import Language
from trainables.language.ngram import UNKNOWN

HOMOGRAPHS = 6
"""Words of one spelling, at most; flashlight leaves out the rest with no more than a line on stderr."""
NEVER = -1e6
"""ln p of what cannot be; flashlight subtracts such numbers, which infinities would make none of."""
LN_10 = math.log(10)


class Flashlight(Config):
    """flashlight's lexicon decoder, with the beam of the released code of arXiv 2210.15631."""

    kind: Literal["flashlight"] = "flashlight"
    beam: Annotated[int, Field(gt=0)] = 50
    """Hypotheses that are kept after each frame."""
    tokens: Annotated[int, Field(gt=0)] = 32
    """Most tokens that are tried in a frame, the likeliest."""
    threshold: Annotated[float, Field(gt=0)] = 32.0
    """Score below the best hypothesis's at which others are dropped."""

    def check(self) -> None:
        """Raises ValueError where flashlight-text is not installed."""
        _imported()

    def build(self, vocabulary: CharacterVocabulary, language: Language) -> "FlashlightSearch":
        """The decoder for a student's vocabulary.

        Raises ValueError where flashlight-text is not installed, or its KenLM cannot read the model.
        """
        return FlashlightSearch(self, vocabulary, language)


class FlashlightSearch(Decoder):
    """The decoder of a `Flashlight`."""

    def __init__(self, settings: Flashlight, vocabulary: CharacterVocabulary, language: Language) -> None:
        self.settings, self.vocabulary = settings, vocabulary
        self.delimiter = vocabulary.tokens.index(DELIMITER)
        self._decoder, dictionary = _imported()
        self._words, lexicon = list(language.lexicon.spellings), language.lexicon
        self._written = [vocabulary.decode(lexicon.spellings[word][0]) for word in self._words]
        known = dictionary.Dictionary([*self._words, UNKNOWN])
        with ExitStack() as stack:
            self._model = _read(self._decoder, stack.enter_context(language.file()), known)
        self._trie = self._decoder.Trie(len(vocabulary), self.delimiter)
        counts, start = Counter[tuple[int, ...]](), self._model.start(False)
        for index, word in enumerate(self._words):
            _, likely = self._model.score(start, index)
            for spelling in lexicon.spellings[word]:
                counts[spelling] += 1
                if counts[spelling] > HOMOGRAPHS:
                    raise ValueError(
                        f"At most {HOMOGRAPHS} words may have one spelling, but {word!r} is one more that is written "
                        f"{vocabulary.decode(spelling)!r}."
                    )
                self._trie.insert([*spelling, self.delimiter], index, likely)
        self._trie.smear(self._decoder.SmearingMode.MAX)

    @override
    def candidates(self, log_probabilities: LogProbabilities, fusion: Fusion) -> list[Candidate]:
        emissions = self._emissions(log_probabilities)
        results = self._search(fusion).decode(emissions.ctypes.data, *emissions.shape)
        return [self._candidate(result, fusion) for result in results] or [Candidate("", NEVER, 0.0, 0)]

    def _search(self, fusion: Fusion) -> Any:
        settings = self.settings
        options = self._decoder.LexiconDecoderOptions(
            beam_size=settings.beam, beam_size_token=settings.tokens, beam_threshold=settings.threshold,
            lm_weight=fusion.weight * LN_10, word_score=fusion.word_score, unk_score=-math.inf, sil_score=0.0,
            log_add=True, criterion_type=self._decoder.CriterionType.CTC,
        )  # fmt: skip
        return self._decoder.LexiconDecoder(
            options, self._trie, self._model, self.delimiter, self.vocabulary.blank, len(self._words), [], False
        )

    def _emissions(self, log_probabilities: LogProbabilities) -> LogProbabilities:
        """With the unknown token as blank, and a delimiter after the last frame."""
        blank, unknown = self.vocabulary.blank, self.vocabulary.unknown
        emissions = np.full((len(log_probabilities) + 1, len(self.vocabulary)), NEVER, np.float32)
        emissions[:-1] = np.maximum(log_probabilities, NEVER)
        emissions[:-1, blank] = np.logaddexp(emissions[:-1, blank], emissions[:-1, unknown])
        emissions[:, unknown] = NEVER
        emissions[-1, self.delimiter] = 0.0
        return emissions

    def _candidate(self, result: Any, fusion: Fusion) -> Candidate:
        words = [index for index in result.words if index >= 0]
        language = result.lmScore * LN_10
        acoustic = result.score - fusion.weight * language - fusion.word_score * len(words)
        return Candidate(" ".join(self._written[index] for index in words), acoustic, language, len(words))


def _imported() -> tuple[Any, Any]:
    try:
        from flashlight.lib.text import decoder, dictionary
        from flashlight.lib.text.decoder import kenlm  # noqa: F401 - makes `decoder` know it
    except ImportError as error:
        raise ValueError(
            "flashlight-text must be installed for this decoder, but is not: pip install 'distill-l2s[lm]'."
        ) from error
    return decoder, dictionary


def _read(decoder: Any, path: Path, known: Any) -> Any:
    try:
        return decoder.kenlm.KenLM(str(path), known)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise ValueError(f"KenLM must be able to read {path}, but cannot: {why}.") from error
