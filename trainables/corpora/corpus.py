"""`Corpus`: any corpus that a recipe can be given."""

from typing import Annotated

from pydantic import Field, SerializeAsAny

from trainables.corpora.base import OwnCorpus
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.hf_dataset import HFDataset
from trainables.corpora.librispeech import LibriLight, LibriSpeech

Corpus = Annotated[
    CommonVoice | HFDataset | LibriSpeech | LibriLight | SerializeAsAny[OwnCorpus], Field(discriminator="kind")
]
