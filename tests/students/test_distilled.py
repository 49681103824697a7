"""The students of HuBERT: shapes and counts of the paper, what they take over from a teacher, and what padding does."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import AutoModel, HubertConfig, HubertModel

from trainables import testing
from trainables.sequences import Sequences
from trainables.students.counting import as_published, deployed, parameters
from trainables.students.ctc import Regularisation
from trainables.students.distilled import DeepThin, DistilledStudent, FilterBanks, ShallowWide, TeachersFrontEnd
from trainables.students.encoders import speech_encoder
from trainables.students.gradients import scale_gradient

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")

WAVEFORM = ("hubert", "hubert-base", "wav2vec2", "wavlm-base", "data2vec-audio")
THIN: dict[str, Any] = {
    "width": 8,
    "feed_forward": 12,
    "layers": 3,
    "heads": 2,
    "position_kernel": 16,
    "position_groups": 2,
}
NO_DROPOUT = Regularisation(attention=0, hidden=0, layers=0)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("teachers")
    found = {family: testing.speech_encoder(family, folder / family) for family in (*WAVEFORM, "whisper")}
    return {family: AutoModel.from_pretrained(path, dtype=torch.float32).eval() for family, path in found.items()}


@pytest.fixture
def teachers(checkpoints: dict[str, Any]) -> dict[str, Any]:
    """Fresh ones, since an encoder notes the lengths of its clips inside of its model."""
    return deepcopy(checkpoints)


def build(student: Any, teacher: Any, **options: Any) -> Any:
    torch.manual_seed(1)
    return student.build(teacher, regularisation=NO_DROPOUT, **options).eval()


def clips(*samples: int) -> Sequences:
    torch.manual_seed(2)
    return Sequences.stack([0.1 * torch.randn(count) + 0.01 for count in samples])


COUNTS = {  # teacher, then the four students: specification, section 3
    "front_end": (4_200_448, 4_200_448, 4_200_448, 1_206_528, 615_840),
    "projection": (393_984, 393_984, 246_240, None, None),
    "positions": (4_719_488, 4_719_488, 1_843_808, 4_719_488, 1_843_808),
    "layers": (85_054_464, 14_175_744, 16_646_400, 14_175_744, 16_646_400),
    "encoder_norm": (1_536, 1_536, 960, 1_536, 960),
    "conv_norm": (1_024, 1_024, 1_024, None, None),
    "mask": (768, 768, 480, 768, 480),
}
CORES = (94_369_920, 23_491_200, 22_937_856, 20_103_296, 19_107_008)
PUBLISHED = (None, 23.6448, 23.0823, 20.2569, 19.2514)
STUDENTS = (
    ShallowWide(),
    DeepThin(),
    ShallowWide(front_end=FilterBanks()),
    DeepThin(front_end=FilterBanks()),
)


@pytest.mark.parametrize("column", range(5))
def test_parameters_are_the_papers_to_the_last_one(column: int) -> None:
    with torch.device("meta"):
        model = STUDENTS[column - 1].build() if column else speech_encoder(HubertModel(HubertConfig()))
    found = parameters(model)
    assert found == {part: counts[column] for part, counts in COUNTS.items() if counts[column]}
    assert sum(found.values()) == sum(p.numel() for p in model.parameters())
    core = sum(count for part, count in found.items() if part not in ("conv_norm", "mask"))
    assert core == CORES[column]
    if published := PUBLISHED[column]:
        assert round(as_published(model) / 1e6, 4) == published
        letters = 32 * (model.width + 1)
        assert deployed(model) == core + found.get("conv_norm", 0) + letters


def test_without_the_layer_norm_there_is_one_part_less() -> None:
    with torch.device("meta"):
        bare = DeepThin(front_end=TeachersFrontEnd(conv_norm="none")).build()
        assert "conv_norm" not in parameters(bare)
        assert as_published(bare) == as_published(DeepThin().build())


@pytest.mark.parametrize("family", WAVEFORM)
def test_the_states_of_copied_layers_are_the_teachers(teachers: dict[str, Any], family: str) -> None:
    teacher = speech_encoder(teachers[family], standardised=False)
    student, audio = build(ShallowWide(layers=1), teachers[family]), clips(9_000, 16_000)
    expected, found = teacher.states(audio, (0, 1)), student.states(audio, (0, 1))
    for layer in (0,) if student.pre_norm else (0, 1):  # of a pre-norm student the last layer goes through the norm
        torch.testing.assert_close(found[layer].values, expected[layer].values, atol=1e-5, rtol=1e-5)
    theirs, ours = teacher.layers[0].state_dict(), student.layers[0].state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_all_of_the_teacher_is_the_teacher(teachers: dict[str, Any]) -> None:
    audio = clips(9_000, 16_000)
    for standardised in (False, True):
        teacher = speech_encoder(deepcopy(teachers["hubert-base"]), standardised=standardised)
        student = build(ShallowWide(layers=2), teachers["hubert-base"], standardised=standardised)
        expected, found = teacher.states(audio, (1, 2)), student.states(audio, (1, 2))
        for layer in (1, 2):
            torch.testing.assert_close(found[layer].values, expected[layer].values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"front_end": TeachersFrontEnd(conv_norm="none")},  # what the released code does
        {"front_end": TeachersFrontEnd(convolutions="random")},
        {"projection": "random"},
        {"positions": "random"},
        {"transformer": "random"},
    ],
)
def test_without_a_part_of_the_teacher_the_states_are_others(teachers: dict[str, Any], changes: dict[str, Any]) -> None:
    with torch.no_grad():  # as after training, when a norm is no identity any more
        teachers["hubert-base"].feature_projection.layer_norm.weight.mul_(1.3)
    teacher = speech_encoder(teachers["hubert-base"], standardised=False)
    student, audio = build(ShallowWide(layers=2, **changes), teachers["hubert-base"]), clips(9_000)
    found, expected = (encoder.states(audio, (2,))[2].values for encoder in (student, teacher))
    assert (found - expected).abs().max() > 1e-3


def test_the_encoders_norm_may_be_left_out(teachers: dict[str, Any]) -> None:
    teacher = teachers["hubert-base"]
    with torch.no_grad():
        teacher.encoder.layer_norm.weight.fill_(2.0)
    with_norm, without = (
        build(ShallowWide(layers=1, encoder_norm=norm), teacher).model.encoder.layer_norm.weight
        for norm in ("teacher", "random")
    )
    assert with_norm.eq(2).all()
    assert without.eq(1).all()


@pytest.mark.parametrize("family", WAVEFORM)
def test_a_thin_student_has_the_teachers_convolutions_and_nothing_else(teachers: dict[str, Any], family: str) -> None:
    teacher, student = teachers[family], build(DeepThin(**THIN), teachers[family])
    parts = [(m.feature_extractor.state_dict(), m.feature_projection.layer_norm.state_dict())
             for m in (teacher, student.model)]  # fmt: skip
    for theirs, ours in zip(*parts, strict=True):
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert student(clips(9_000), None).values.shape[2] == 8
    assert len(student.layers) == 3
    assert not student.pre_norm


def test_a_thin_student_behind_whispers_stem(teachers: dict[str, Any]) -> None:
    teacher, audio = teachers["whisper"].get_encoder(), clips(9_000, 16_000)
    student = build(DeepThin(**THIN), teachers["whisper"])
    stem = student.front_end
    assert torch.equal(stem.conv1.weight, teacher.conv1.weight)
    assert torch.equal(stem.positions.weight, teacher.embed_positions.weight)
    with torch.no_grad():
        expected = speech_encoder(teachers["whisper"]).states(audio, (0,))[0].values
        torch.testing.assert_close(stem(audio).values, Sequences(stem.projection(expected), stem(audio).lengths)
                                   .zero_padded().values)  # fmt: skip
    assert stem.conv1.weight is not teacher.conv1.weight


def test_a_shallow_student_of_whisper(teachers: dict[str, Any]) -> None:
    teacher, audio = teachers["whisper"].get_encoder(), clips(9_000, 16_000)
    student = build(ShallowWide(layers=1), teachers["whisper"])
    states = student.states(audio, (0, 1))
    expected = speech_encoder(teachers["whisper"]).states(audio, (0,))
    torch.testing.assert_close(states[0].values, expected[0].values)
    assert torch.equal(student.layers[0].fc1.weight, teacher.layers[0].fc1.weight)
    banks = build(ShallowWide(layers=1, front_end=FilterBanks()), teachers["whisper"])
    assert torch.equal(banks.layers[0].fc1.weight, teacher.layers[0].fc1.weight)
    assert banks(audio, None).lengths.tolist() == states[1].lengths.tolist()


KINDS = [
    ("hubert-base", ShallowWide(layers=1)),
    ("hubert-base", DeepThin(**THIN)),
    ("hubert-base", ShallowWide(layers=1, front_end=FilterBanks())),
    ("hubert-base", DeepThin(**THIN, front_end=FilterBanks())),
    ("wavlm-base", ShallowWide(layers=2, front_end=FilterBanks())),
    ("wav2vec2", ShallowWide(layers=2, front_end=FilterBanks())),
    ("data2vec-audio", ShallowWide(layers=1, front_end=FilterBanks())),
    ("whisper", ShallowWide(layers=1)),
    ("whisper", DeepThin(**THIN)),
    ("whisper", ShallowWide(layers=1, front_end=FilterBanks())),
    ("whisper", DeepThin(**THIN, front_end=FilterBanks())),
]
every_kind = pytest.mark.parametrize(("family", "student"), KINDS, ids=lambda value: str(value))


@every_kind
@torch.no_grad()
def test_a_clip_alone_is_what_it_is_beside_longer_ones(teachers: dict[str, Any], family: str, student: Any) -> None:
    encoder = build(student, teachers[family], moments=torch.tensor([[8.0], [4.0]]).repeat(1, 80))
    both, last = clips(9_123, 20_000), len(encoder.layers)
    alone = Sequences(both.values[:1, :9_123], both.lengths[:1])
    together = encoder.states(both, range(last + 1))
    for layer, expected in encoder.states(alone, range(last + 1)).items():
        length = int(expected.lengths)
        assert int(together[layer].lengths[0]) == length
        torch.testing.assert_close(
            together[layer].values[0, :length], expected.values[0, :length], atol=1e-5, rtol=1e-5
        )
        assert together[layer].values[0, length:].eq(0).all()


@every_kind
def test_channels_and_frames_are_hidden(teachers: dict[str, Any], family: str, student: Any) -> None:
    encoder, audio = build(student, teachers[family]), clips(9_000, 16_000)
    masked, channels = torch.zeros(2, 50, dtype=torch.bool), torch.zeros(2, encoder.width, dtype=torch.bool)
    masked[:, 5:9], channels[1, 2:4] = True, True
    outputs = [encoder(audio, *masks).values for masks in ((None, None), (masked, None), (None, channels))]
    for output in outputs[1:]:
        assert (output - outputs[0]).abs().max() > 1e-4
    torch.testing.assert_close(outputs[2][0], outputs[0][0])  # of the first clip no channel is hidden


@pytest.mark.parametrize(("family", "student"), KINDS[:4], ids=lambda value: str(value))
def test_masks_are_an_embedding_in_frames_and_zeros_in_channels(
    teachers: dict[str, Any], family: str, student: Any
) -> None:
    encoder = build(student, teachers[family]).train()
    masked, channels = torch.zeros(1, 50, dtype=torch.bool), torch.zeros(1, encoder.width, dtype=torch.bool)
    masked[:, 5:9], channels[:, 2:4] = True, True
    transformer = encoder.transformer.encoder if hasattr(encoder, "transformer") else encoder.model.encoder
    embedding = encoder.mask_embedding if hasattr(encoder, "mask_embedding") else encoder.model.masked_spec_embed
    seen: list[torch.Tensor] = []
    transformer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().clone()))
    encoder(clips(16_000), masked, channels)
    assert seen[0][0, :, 2:4].eq(0).all()
    expected = embedding.detach().masked_fill(channels[0], 0)
    assert torch.equal(seen[0][0, 5:9], expected.expand(4, -1))
    assert not torch.equal(seen[0][0, 9], expected)


@pytest.mark.parametrize(("family", "student"), KINDS[:2] + KINDS[7:9], ids=lambda value: str(value))
def test_copied_convolutions_learn_ten_times_as_slowly(teachers: dict[str, Any], family: str, student: Any) -> None:
    def gradients(factor: float) -> tuple[torch.Tensor, torch.Tensor]:
        config = student.model_copy(update={"front_end": TeachersFrontEnd(gradient=factor)})
        encoder = build(config, teachers[family]).train()
        encoder(clips(9_000, 16_000), None).values.square().sum().backward()
        convolutions = [p.grad for part in encoder.convolutions for p in part.parameters()]
        layers = [p.grad for p in encoder.layers.parameters() if p.grad is not None]
        assert len(layers) > 0
        if factor == 0:
            assert not any(p.requires_grad for part in encoder.convolutions for p in part.parameters())
            return torch.zeros(1), torch.cat([g.flatten() for g in layers])
        return torch.cat([g.flatten() for g in convolutions]), torch.cat([g.flatten() for g in layers])

    (whole, above), (tenth, above_tenth) = gradients(1.0), gradients(0.1)
    assert whole.abs().max() > 0
    torch.testing.assert_close(tenth, 0.1 * whole, rtol=1e-4, atol=1e-7 * float(whole.abs().max()))
    torch.testing.assert_close(above_tenth, above)
    torch.testing.assert_close(gradients(0.0)[1], above)


def test_fine_tuning_may_freeze_what_distillation_let_learn(teachers: dict[str, Any]) -> None:
    encoder = build(DeepThin(**THIN), teachers["hubert-base"]).train()
    scale_gradient(encoder, 0.0)
    encoder(clips(9_000), None).values.sum().backward()
    assert all(p.grad is None for p in encoder.model.feature_extractor.parameters())
    assert encoder.model.feature_projection.projection.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("student", [STUDENTS[0], DeepThin(**THIN, front_end=FilterBanks())])
def test_a_student_is_built_again_without_its_teacher(teachers: dict[str, Any], student: Any) -> None:
    first = build(student, teachers["hubert-base"], moments=torch.rand(2, 80))
    again = student.build(architecture=teachers["hubert-base"].config, regularisation=NO_DROPOUT).eval()
    again.load_state_dict(first.state_dict())
    audio = clips(9_000)
    assert torch.equal(first(audio, None).values, again(audio, None).values)


@every_kind
def test_every_parameter_belongs_to_a_part(teachers: dict[str, Any], family: str, student: Any) -> None:
    encoder = build(student, teachers[family])
    assert sum(parameters(encoder).values()) == sum(p.numel() for p in encoder.parameters())


@torch.no_grad()
def test_waveforms_are_standardised_where_the_teacher_wants_it(teachers: dict[str, Any]) -> None:
    audio, model = clips(9_000), teachers["hubert-base"]
    plain = deepcopy(model)(audio.values).last_hidden_state
    torch.testing.assert_close(speech_encoder(model, standardised=False)(audio, None).values, plain)
    other = speech_encoder(deepcopy(teachers["wav2vec2"]))(audio, None).values
    assert (other - teachers["wav2vec2"](audio.values).last_hidden_state).abs().max() > 1e-3


def test_students_are_a_union_by_kind() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(DistilledStudent)
    for student in STUDENTS:
        assert adapter.validate_json(student.model_dump_json()) == student
    assert [str(student) for student in STUDENTS] == ["S&W", "D&T", "S&W Fbank", "D&T Fbank"]
    assert len({student.signature() for student in STUDENTS}) == 4


def test_what_does_not_fit_is_one_sentence(teachers: dict[str, Any], tmp_path: Any) -> None:
    with pytest.raises(ValidationError, match=r"`width` must be a multiple of `heads`, 12, but is 100\."):
        DeepThin(width=100)
    with pytest.raises(ValueError, match=r"^`layers` must be at most the encoder's, which are 2, but is 3 instead\.$"):
        ShallowWide(layers=3).build(teachers["hubert"])
    with pytest.raises(ValueError, match=r"^`conv_norm` must be 'teacher' where the teacher is wav2vec2"):
        ShallowWide(layers=1, front_end=TeachersFrontEnd(conv_norm="none")).build(teachers["wav2vec2"])
    other = AutoModel.from_pretrained(testing.speech_encoder("wav2vec2-bert", tmp_path / "other"))
    with pytest.raises(ValueError, match=r"^A teacher must be one of hubert, .*, whisper, but is 'wav2vec2-bert'"):
        DeepThin().build(other)
    bare = HubertModel(HubertConfig(**testing.TRANSFORMER, **testing.CONVOLUTIONS, feat_proj_layer_norm=False))
    with pytest.raises(
        ValueError, match=r"must have a `feature_projection\.layer_norm\.weight` of \(8,\) to copy, but"
    ):
        ShallowWide(layers=1).build(bare)
    slow = HubertModel(HubertConfig(**testing.TRANSFORMER, **testing.CONVOLUTIONS, conv_stride=(5, 2, 2, 2, 2, 2, 4)))
    with pytest.raises(ValueError, match=r"^A teacher must have a frame every 320 samples, .* but has 640\.$"):
        DeepThin(front_end=FilterBanks()).build(slow)
    with pytest.raises(ValueError, match=r"^`factor` must be at least 0, but is -1\.0 instead\.$"):
        scale_gradient(build(DeepThin(**THIN), teachers["hubert"]), -1.0)
