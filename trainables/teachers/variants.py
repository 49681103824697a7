"""Other teachers than the paper's, to tell what it is in the paper's that helps, if anything does."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from trainables.corpora.sources import FeatureSource
from trainables.teachers.features import ShuffledFeatures
from trainables.teachers.language_model import (
    LanguageModel,
    PretrainedWeights,
    RandomLanguageModel,
    RandomWeights,
    TextEncoder,
)


class ShuffledTranscripts(PretrainedWeights):
    """The control of what a teacher says: pretrained and frozen, but about another utterance's transcript.

    Which other one is drawn once, not at each step, so that there is as fixed a target to learn as the paper's.
    No utterance keeps its own transcript; one that says the same as another may get the same text.
    """

    kind: Literal["shuffled_transcripts"] = "shuffled_transcripts"
    label: ClassVar[str] = "shuffled transcripts"

    seed: Annotated[int, Field(ge=0)] = 1
    """The seed that the shuffling is drawn with."""

    @override
    def cached(self) -> LanguageModel:
        """The paper's teacher: what is shuffled is who gets which of its hidden states."""
        return LanguageModel(model=self.model, layer=self.layer, bin_sha256=self.bin_sha256)

    @override
    def source(self, cached: FeatureSource, utterances: int) -> FeatureSource:
        return ShuffledFeatures.of(cached, utterances, self.seed)


class TrainedAlong(RandomWeights):
    """The teacher as the released code has it: weights drawn at random, trained with the student, dropout on.

    There, the nested `from_pretrained` of transformers 4.11 drew the weights anew and nothing froze them.
    """

    kind: Literal["trained_along"] = "trained_along"
    label: ClassVar[str] = "random teacher trained along"

    @override
    def cached(self) -> None:
        """None, since its hidden states change with every step."""

    @override
    def build(self) -> TextEncoder:
        """The text encoder, to be trained."""
        return TextEncoder(self.draw(), self.tokenizer(), self.layer)


Teacher = Annotated[
    LanguageModel | RandomLanguageModel | ShuffledTranscripts | TrainedAlong, Field(discriminator="kind")
]
