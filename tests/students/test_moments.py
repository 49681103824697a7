from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.sequences import Sequences
from trainables.students import moments
from trainables.students.fbank import LogEnergies
from trainables.students.moments import FilterBankMoments


@pytest.fixture
def chosen(release: Path) -> FilterBankMoments:
    split = SplitPreparation(corpus=CommonVoice(root=str(release), language="cs"), split="train", longest=10)
    return FilterBankMoments(split=split)


def test_they_are_those_of_all_frames_and_not_of_padding(
    chosen: FilterBankMoments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "CLIPS_AT_ONCE", 7)  # the last batch is not full
    mean, variance = moments.moments(chosen.build())
    split = PreparedSplit(chosen.split.build())
    frames = []
    for i in range(len(split)):  # one by one, so that there is no padding
        clip = torch.from_numpy(split.audio(i).astype(np.float32) / 32768)
        frames.append(LogEnergies()(Sequences.stack([clip])).values[0].double())
    every = torch.cat(frames)
    torch.testing.assert_close(mean.double(), every.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(variance.double(), every.var(dim=0, correction=0), rtol=1e-4, atol=1e-4)


def test_they_are_made_once_and_damage_is_told(chosen: FilterBankMoments) -> None:
    path = chosen.build() / "moments.npy"
    before = path.stat().st_mtime_ns
    assert chosen.build() == path.parent
    assert path.stat().st_mtime_ns == before
    assert chosen.summary().startswith("80 bins: means ")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"must have SHA-256 .* delete its folder to prepare it again\.$"):
        chosen.build()
