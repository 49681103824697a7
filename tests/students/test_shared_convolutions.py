"""Convolutions that are the same in a student and its teacher, and are computed once."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModel

from trainables import testing
from trainables.sequences import Sequences
from trainables.students.distilled import DeepThin, FilterBanks, ShallowWide, TeachersFrontEnd
from trainables.students.encoders import SpeechEncoder, speech_encoder

FROZEN = TeachersFrontEnd(gradient=0)
SMALL = DeepThin(width=8, feed_forward=12, layers=3, heads=2, position_kernel=16, position_groups=2)
FAMILIES = ("hubert", "hubert-base", "wav2vec2", "wavlm-base", "data2vec-audio")

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {family: testing.speech_encoder(family, tmp_path / family) for family in (*FAMILIES, "whisper")}


def teacher(folder: Path) -> SpeechEncoder:
    return speech_encoder(AutoModel.from_pretrained(folder, dtype=torch.float32)).eval()


def built(student: DeepThin | ShallowWide, folder: Path, *, standardised: bool = True) -> SpeechEncoder:
    return student.build(AutoModel.from_pretrained(folder, dtype=torch.float32), standardised=standardised)


def clips() -> Sequences:
    torch.manual_seed(2)
    return Sequences.stack([0.1 * torch.randn(count) + 0.01 for count in (9_000, 16_000)])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("student", [SMALL, ShallowWide(layers=1)], ids=str)
@torch.no_grad()
def test_a_students_states_are_the_same_from_its_teachers_convolutions(
    folders: dict[str, Path], family: str, student: DeepThin | ShallowWide
) -> None:
    encoder, listener = (
        built(student.model_copy(update={"front_end": FROZEN}), folders[family]),
        teacher(folders[family]),
    )
    assert encoder.convolves_as(listener)
    audio = clips()
    expected = encoder.eval().states(audio, (0, 1))
    known = listener.states(audio, ("convolutions",))["convolutions"]
    with encoder.given(known):
        found = encoder.states(audio, (0, 1))
    for layer, states in expected.items():
        assert torch.equal(found[layer].values, states.values)
    # Only within the block.
    assert torch.equal(encoder.states(clips(), (1,))[1].values, expected[1].values)
    with encoder.given(Sequences(torch.zeros_like(known.values), known.lengths)):
        assert not torch.equal(encoder.states(audio, (1,))[1].values, expected[1].values)


def test_only_the_same_convolutions_that_stay_so_are_shared(folders: dict[str, Path]) -> None:
    folder = folders["hubert-base"]
    listener, frozen = teacher(folder), SMALL.model_copy(update={"front_end": FROZEN})
    assert built(frozen, folder).convolves_as(listener)
    assert not built(SMALL, folder).convolves_as(listener)  # they learn, if slowly
    random = TeachersFrontEnd(convolutions="random", gradient=0)
    assert not built(SMALL.model_copy(update={"front_end": random}), folder).convolves_as(listener)
    assert not built(frozen, folder, standardised=False).convolves_as(listener)
    assert not built(frozen, folder).convolves_as(teacher(folders["hubert"]))
    assert not built(frozen, folder).convolves_as(teacher(folders["whisper"]))
    listener.convolutions[0].get_parameter("conv_layers.0.conv.weight").data[0] += 1e-3
    assert not built(frozen, folder).convolves_as(listener)


@pytest.mark.parametrize("front_end", [FROZEN, FilterBanks(gradient=0)])
def test_other_students_are_given_nothing(folders: dict[str, Path], front_end: TeachersFrontEnd | FilterBanks) -> None:
    student = built(SMALL.model_copy(update={"front_end": front_end}), folders["whisper"])
    assert not student.convolves_as(teacher(folders["whisper"]))
    with pytest.raises(ValueError, match="must convolve as another does to be given its frames, but does not"):
        student.given(clips())


def test_nothing_is_kept_of_convolutions_that_do_not_learn(folders: dict[str, Path]) -> None:
    for front_end, learning in ((FROZEN, False), (TeachersFrontEnd(), True)):
        encoder = built(SMALL.model_copy(update={"front_end": front_end}), folders["hubert-base"]).train()
        inside: list[bool] = []

        def note(_: nn.Module, __: object, output: torch.Tensor, noted: list[bool] = inside) -> None:
            noted.append(output.requires_grad)

        encoder.convolutions[0].get_submodule("conv_layers.0").register_forward_hook(note)
        encoder(clips(), None)
        assert inside == [learning]
