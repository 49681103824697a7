"""Clips that CTC cannot learn, by the student's own frames and by its own tokens."""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from trainables import testing
from trainables.corpora.batching import ByCount, Loader
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.room import with_room
from trainables.corpora.text import CharacterVocabulary
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun
from trainables.students.ctc import CTCStudent, Pretrained

VOCABULARY = CharacterVocabulary(("a", "b", "|", "[UNK]", "[PAD]"))


@dataclass
class Clips:
    """In place of a prepared split: texts, and the frames of 20 ms that each clip has."""

    texts: list[str]
    frames: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def ids(self) -> list[str]:
        return [f"clip {i}" for i in range(len(self))]

    @property
    def samples(self) -> np.ndarray:
        return 320 * np.array(self.frames)


def usable(texts: list[str], frames: list[int]) -> list[int]:
    split = cast(PreparedSplit, Clips(texts, frames))
    return with_room(split, VOCABULARY, lambda samples: samples // 320, 320)[0].tolist()


@given(st.lists(st.tuples(st.text("abxyz ", min_size=1, max_size=12), st.integers(1, 25)), min_size=1, max_size=20))
def test_what_has_room_is_what_has_a_loss(clips: list[tuple[str, int]]) -> None:
    clips.append(("a", 2))
    texts, frames = map(list, zip(*clips, strict=True))
    tokens = [torch.tensor(VOCABULARY.encode(text)) for text in texts]
    losses = functional.ctc_loss(
        torch.zeros(max(frames), len(clips), len(VOCABULARY)).log_softmax(dim=2),
        torch.cat(tokens), torch.tensor(frames), torch.tensor([len(t) for t in tokens]),
        blank=VOCABULARY.blank, reduction="none",
    )  # fmt: skip
    assert usable(texts, frames) == losses.isfinite().nonzero().flatten().tolist()


def test_two_rare_characters_in_a_row_need_a_blank_between_them() -> None:
    # x and y are both unknown: one token twice.
    assert usable(["axy", "axy", "axa"], [3, 4, 3]) == [1, 2]
    split = cast(PreparedSplit, Clips(["axy", "a"], [3, 3]))
    _, rejected = with_room(split, VOCABULARY, lambda samples: samples // 320, 320)
    assert [tuple(item) for item in rejected] == [
        ("clip 0", "transcript too long", "needs 4 frames of the student, which makes 3")
    ]


def test_a_student_without_room_for_any_clip_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="of all 2 it makes too few, one in 2560 samples"):
        with_room(cast(PreparedSplit, Clips(["ab", "ba"], [8, 8])), VOCABULARY, lambda samples: samples // 2560, 2560)


def test_what_a_student_cannot_learn_is_listed_and_never_drawn(
    recipe: DistillL2S, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strides = {"conv_kernel": (10, 4, 4, 3, 3, 2, 4), "conv_stride": (5, 4, 4, 2, 2, 2, 4)}  # a frame every 160 ms
    folder = testing.speech_encoder("wav2vec2", tmp_path / "model", **strides)
    student = CTCStudent(encoder=Pretrained(model=str(folder)), regularisation=recipe.student.regularisation)
    changed = recipe.model_copy(update={"student": student})
    drawn: set[str] = set()
    batch = Loader.batch

    def noted(self: Loader, *arguments: object, **named: object) -> object:
        made = batch(self, *arguments, **named)  # pyright: ignore
        if named["seed"] is not None:
            drawn.update(made.ids)
            assert made.masked is None or made.masked.shape[1] <= made.audio.values.shape[1] // 2560
        return made

    monkeypatch.setattr(Loader, "batch", noted)
    run = LocalRun(tmp_path / "run")
    changed.run(run)
    rejected = [json.loads(line) for line in (run.folder / "quarantine.jsonl").read_text().splitlines()]
    train = PreparedSplit(changed.split("train").build())
    assert {item["reason"] for item in rejected} == {"transcript too long"}
    assert drawn | {item["id"] for item in rejected} == set(train.ids)
    assert not drawn & {item["id"] for item in rejected}
    audited = json.loads((run.folder / "audit.json").read_text())["train"]
    assert audited["quarantined"] == {"transcript too long": len(rejected)}
    assert audited["utterances"] == len(drawn) < len(train)
    assert audited["seconds"] == pytest.approx(train.samples[[i in drawn for i in train.ids]].sum() / 16_000)


def test_a_student_with_room_for_all_draws_as_before(recipe: DistillL2S, models: Path) -> None:
    train = PreparedSplit(recipe.split("train").build())
    vocabulary, frames = CharacterVocabulary.of(train.texts), recipe.student.frames()
    everything, rejected = with_room(train, vocabulary, frames.count, frames.hop)
    assert (everything.tolist(), rejected) == (list(range(len(train))), [])
    loaders = Loader(train), Loader(train, usable=everything)
    streams = [loader.training(ByCount(utterances=5), seed=1, start=0, shares=1, mine=(0,)) for loader in loaders]
    first, second = ([batch.ids for (batch,) in islice(stream, 9)] for stream in streams)
    assert first == second
