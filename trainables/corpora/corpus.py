"""`Corpus`: any corpus that a recipe can be given."""

from typing import Annotated

from pydantic import Field, SerializeAsAny

from trainables.corpora.base import OwnCorpus
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.hf_dataset import HFDataset

Corpus = Annotated[CommonVoice | HFDataset | SerializeAsAny[OwnCorpus], Field(discriminator="kind")]
