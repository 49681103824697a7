import shutil
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from trainables import testing
from trainables.batch import Batch
from trainables.corpora.filters import frames_of
from trainables.corpora.text import CharacterVocabulary
from trainables.sequences import Sequences
from trainables.students.ctc import FAMILIES, CTCStudent, Pretrained, Regularisation, Scratch
from trainables.students.encoders import fit_frames, standardise

# transformers gives WavLM's attention masks of two types, of which torch warns.
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")

VOCABULARY = CharacterVocabulary.of(["abcdefghij "])
CONVOLUTIONAL = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", *testing.BASES)
ENCODERS = (*FAMILIES, *testing.BASES)
NO_DROPOUT = Regularisation(attention=0, hidden=0, layers=0)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: str(testing.speech_encoder(family, folder / family)) for family in ENCODERS}


@pytest.fixture(params=ENCODERS)
def model(request, checkpoints):
    """The folder of a model, once for every family and kind of norm."""
    return checkpoints[request.param]


def build(encoder, **options) -> Any:
    torch.manual_seed(1)
    return CTCStudent(encoder=encoder, **{"regularisation": NO_DROPOUT, **options}).build(VOCABULARY)


def batch_of(waveforms, masked=None):
    tokens = Sequences.stack([torch.tensor([0, 1, 2]) for _ in waveforms])
    names = tuple(map(str, range(len(waveforms))))
    scale = torch.full((len(waveforms),), 1 / len(waveforms))
    return Batch(names, Sequences.stack(waveforms), scale, names, {"tokens": tokens}, masked)


def noise(*seconds):
    torch.manual_seed(2)
    return [0.1 * torch.randn(int(16_000 * s)) for s in seconds]


def some_masked(seconds, count):
    masked = torch.zeros(count, int(50 * seconds), dtype=torch.bool)
    masked[:, 5:15] = True
    return masked


def test_50_frames_a_second_with_a_logit_for_every_token(model):
    waveforms = noise(0.5, 1.23, 2.0)
    student = build(Pretrained(model=model)).eval()
    encoded = student(batch_of(waveforms))
    frames = max(encoded.logits.lengths)
    assert encoded.logits.values.shape == (3, frames, len(VOCABULARY))
    assert encoded.hidden.values.shape == (3, frames, student.width)
    for length, waveform in zip(encoded.logits.lengths.tolist(), waveforms, strict=True):
        assert abs(length - len(waveform) // 320) <= 1


def test_no_family_gives_fewer_frames_than_the_corpus_counts_on(model):
    student = build(Pretrained(model=model)).eval()
    for samples in (560, 719, 720, 879, 880, 16_000, 16_160, 19_680):
        encoded = student(batch_of([torch.randn(samples)]))
        assert encoded.logits.values.isfinite().all()
        assert int(encoded.logits.lengths) >= frames_of(samples) > 0


def assert_alone_is_together(student):
    waveforms = noise(0.31, 0.77, 1.2)
    with torch.no_grad():
        together = student(batch_of(waveforms))
        for i, waveform in enumerate(waveforms):
            alone, length = student(batch_of([waveform])), int(together.logits.lengths[i])
            assert alone.logits.lengths.tolist() == [length]
            for a, b in ((together.logits, alone.logits), (together.hidden, alone.hidden)):
                torch.testing.assert_close(a.values[i, :length], b.values[0, :length], rtol=0, atol=1e-4)
            assert together.hidden.values[i, length:].eq(0).all()


def test_an_utterance_alone_is_as_in_a_padded_batch(model):
    assert_alone_is_together(build(Pretrained(model=model)).eval())


def test_a_batch_norm_before_huberts_positions_lets_no_padding_in(tmp_path):
    folder = testing.speech_encoder("hubert-base", tmp_path / "model", conv_pos_batch_norm=True)
    student = build(Pretrained(model=str(folder))).eval()
    with torch.no_grad():
        student.encoder.model.encoder.pos_conv_embed.batch_norm.bias.fill_(1.0)
    assert_alone_is_together(student)


def hidden_with_and_without_masks(student):
    waveforms, outputs = noise(1.0, 1.0), []
    for masked in (None, some_masked(1.0, 2)):
        torch.manual_seed(3)  # what dropout is left draws the same
        outputs.append(student(batch_of(waveforms, masked)).hidden.values)
    return outputs


def test_masks_hide_frames_from_the_encoder(model):
    plain, masked = hidden_with_and_without_masks(build(Pretrained(model=model)).train())
    assert not torch.allclose(plain, masked, atol=1e-3)


@pytest.mark.parametrize("family", [family for family in ENCODERS if family != "whisper"])
def test_masks_work_for_a_checkpoint_that_was_trained_without(family, tmp_path):
    folder = testing.speech_encoder(family, tmp_path / "model", mask_time_prob=0.0, apply_spec_augment=False)
    plain, masked = hidden_with_and_without_masks(build(Pretrained(model=str(folder))).train())
    assert not torch.allclose(plain, masked, atol=1e-3)


def test_without_masks_training_hides_nothing(model):
    # transformers would draw its own masks if `mask_time_prob` were left as it is.
    student = build(Pretrained(model=model))
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trained = student.train()(batch_of(noise(2.0))).hidden.values
    torch.testing.assert_close(trained, student.eval()(batch_of(noise(2.0))).hidden.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [Pretrained, Scratch])
def test_a_training_step_gives_finite_gradients_to_all_that_trains(model, kind):
    student = build(kind(model=model)).train()
    assert not student.skips_layers
    batch = batch_of(noise(0.5, 1.0), some_masked(1.0, 2))
    logits, tokens = student(batch).logits, batch.sources["tokens"]
    probabilities = logits.values.log_softmax(dim=-1).transpose(0, 1)
    functional.ctc_loss(probabilities, tokens.values, logits.lengths, tokens.lengths, blank=VOCABULARY.blank).backward()
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        else:
            assert parameter.grad is None, name
    assert student.head.weight.grad.abs().sum() > 0


def test_a_student_says_that_layerdrop_leaves_layers_out(model):
    assert build(Pretrained(model=model), regularisation=Regularisation(layers=0.1)).skips_layers


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_convolutions_are_frozen_only_when_pretrained_and_wanted(checkpoints, family):
    def trained(encoder, **options):
        student = build(encoder, **options)
        return {p.requires_grad for p in student.encoder.model.feature_extractor.parameters()}

    assert trained(Pretrained(model=checkpoints[family])) == {False}
    assert trained(Pretrained(model=checkpoints[family]), freeze_feature_encoder=False) == {True}
    assert trained(Scratch(model=checkpoints[family])) == {True}


@pytest.mark.parametrize("family", ["whisper", "wav2vec2-bert"])
@pytest.mark.parametrize("kind", [Pretrained, Scratch])
def test_of_the_others_everything_trains_but_whispers_sinusoids(checkpoints, family, kind):
    frozen = [n for n, p in build(kind(model=checkpoints[family])).named_parameters() if not p.requires_grad]
    assert frozen == (["encoder.encoder.embed_positions.weight"] if family == "whisper" else [])


def random_weights(student):
    return torch.cat([p.detach().flatten() for n, p in student.encoder.named_parameters() if "layers" in n])


def test_from_scratch_is_random_by_torchs_seed(model):
    def weights(kind, seed):
        torch.manual_seed(seed)
        return random_weights(CTCStudent(encoder=kind(model=model)).build(VOCABULARY))

    assert torch.equal(weights(Scratch, 1), weights(Scratch, 1))
    assert not torch.equal(weights(Scratch, 1), weights(Scratch, 2))
    assert torch.equal(weights(Pretrained, 1), weights(Pretrained, 2))
    assert not torch.equal(weights(Scratch, 1), weights(Pretrained, 1))


def test_pretrained_weights_are_those_of_the_checkpoint(model):
    saved = AutoModel.from_pretrained(model).state_dict()
    student = build(Pretrained(model=model)).state_dict()
    for name, value in saved.items():
        name = name.removeprefix("encoder.") if "whisper" in model else name
        wrapped = f"encoder.{'encoder' if 'whisper' in model else 'model'}.{name}"
        if not name.startswith("decoder."):
            torch.testing.assert_close(student[wrapped], value, rtol=0, atol=0)


def test_identity_of_scratch_is_the_architecture_wherever_it_lies(model, tmp_path):
    moved = shutil.copytree(model, tmp_path / "moved")
    assert Scratch(model=str(moved)).identity() == Scratch(model=model).identity()
    for path in moved.glob("*.safetensors"):
        path.unlink()
    build(Scratch(model=str(moved)))  # needs no weights
    wider = testing.speech_encoder("wav2vec2", tmp_path / "wider", intermediate_size=48)
    assert Scratch(model=str(wider)).identity() != Scratch(model=model).identity()


@pytest.mark.parametrize("kind", [Pretrained, Scratch])
def test_the_lowest_layers_alone(model, kind):
    whole, lowest = build(kind(model=model)), build(kind(model=model, layers=1))
    assert (len(layers_of(whole)), len(layers_of(lowest))) == (2, 1)
    if kind is Pretrained:
        weights, expected = layers_of(lowest)[0].state_dict(), layers_of(whole)[0].state_dict()
        assert all(torch.equal(weights[name], expected[name]) for name in weights)
    assert kind(model=model).identity() != kind(model=model, layers=1).identity()
    assert "layers" not in kind(model=model).identity(), "or trials from before the field would have other names"


@pytest.mark.parametrize("kind", [Pretrained, Scratch])
def test_more_layers_than_there_are_is_one_sentence(model, kind):
    with pytest.raises(ValueError, match=r"^`layers` must be at most the encoder's, which are 2, but is 3 instead\.$"):
        kind(model=model, layers=3).fingerprint()


@pytest.mark.parametrize("frozen", [1, 2])
def test_nothing_learns_up_to_the_last_frozen_layer(model, frozen):
    student = build(Pretrained(model=model, frozen=frozen)).train()
    inputs = {}
    for i, layer in enumerate(layers_of(student)):
        layer.register_forward_pre_hook(lambda _, args, i=i: inputs.update({i: args[0].requires_grad}))
    encoded = student(batch_of(noise(1.0, 0.6), masked=some_masked(1.0, 2)))
    assert inputs == {0: False, 1: False}
    assert [any(p.requires_grad for p in layer.parameters()) for layer in layers_of(student)] == [False, frozen == 1]
    assert encoded.hidden.values.requires_grad == any(p.requires_grad for p in student.encoder.parameters())
    encoded.logits.values.sum().backward()
    assert all(p.grad is not None for p in student.head.parameters())


def test_frozen_layers_are_part_of_a_name_and_no_more_than_are_used(model):
    assert Pretrained(model=model, frozen=1).identity()["frozen"] == 1
    assert "frozen" not in Pretrained(model=model).identity(), "or trials from before the field would have other names"
    with pytest.raises(ValueError, match=r"^`frozen` must be at most the layers that are used, 1, but is 2 instead\.$"):
        Pretrained(model=model, layers=1, frozen=2).fingerprint()


def encoder_of(student) -> Any:
    encoder = student.encoder
    return encoder.encoder if hasattr(encoder, "encoder") else encoder.model.encoder


def layers_of(student) -> Any:
    return encoder_of(student).layers


@pytest.mark.parametrize(("layerdrop", "least", "most"), [(0.0, 20, 20), (0.9, 0, 10)])
def test_layerdrop_skips_layers(model, layerdrop, least, most):
    regularisation = Regularisation(layers=layerdrop)
    student = build(Pretrained(model=model), regularisation=regularisation).train()
    calls = []
    for layer in layers_of(student):
        layer.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(10):
        student(batch_of(noise(0.3)))
    assert least <= len(calls) <= most


def test_dropout_reaches_the_model(model):
    chosen = Regularisation(attention=0.11, hidden=0.12, activation=0.13, projection=0.14, layers=0)
    student = build(Pretrained(model=model), regularisation=chosen)
    layer = layers_of(student)[0]
    found = {module.p for module in student.modules() if isinstance(module, torch.nn.Dropout)}
    found |= {getattr(module, "dropout", None) for module in layer.modules()} - {None}
    if "whisper" in model:
        assert (layer.self_attn.dropout, layer.dropout, layer.activation_dropout) == (0.11, 0.12, 0.13)
        assert student.encoder.encoder.dropout == 0.12
    else:
        assert {0.11, 0.12, 0.13, 0.14} <= {p for p in found if isinstance(p, float)}


@pytest.mark.parametrize("kind", [Pretrained, Scratch])
@pytest.mark.parametrize("content", ['{"model_type": "bert"}', '{"model_type": "unheard-of"}', "{}"])
def test_an_unknown_family_is_one_sentence(tmp_path, kind, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"^A student must be one of wav2vec2, .*, whisper, but .* is .*\.$") as error:
        build(kind(model=str(tmp_path)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [Pretrained, Scratch])
def test_a_folder_without_a_config_is_one_sentence(tmp_path, kind):
    with pytest.raises(ValueError, match=r"^A model folder must have config\.json, but .* has none\.$"):
        build(kind(model=str(tmp_path)))


def test_a_pretrained_model_without_weights_is_one_sentence(model, tmp_path):
    shutil.copy(f"{model}/config.json", tmp_path)
    with pytest.raises(ValueError, match=r"^A model folder must have its weights in \*\.safetensors, but"):
        build(Pretrained(model=str(tmp_path)))


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_waveforms_are_prepared_as_transformers_does(checkpoints, family):
    (waveform,) = noise(1.0)
    waveform = 3 * waveform + 0.2  # neither the level nor the offset may matter
    inputs = Wav2Vec2FeatureExtractor(do_normalize=True)(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = AutoModel.from_pretrained(checkpoints[family]).eval()(inputs["input_values"]).last_hidden_state
        hidden = build(Pretrained(model=checkpoints[family])).eval()(batch_of([waveform])).hidden
    torch.testing.assert_close(hidden.values, expected, rtol=0, atol=1e-4)


def test_whisper_on_30_seconds_is_what_transformers_gives(checkpoints):
    (waveform,) = noise(30.0)
    waveform[-1600:] = 0  # at the very end transformers mirrors the sound, and this project pads with zeros
    features = WhisperFeatureExtractor(feature_size=40)(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        whisper = AutoModel.from_pretrained(checkpoints["whisper"]).eval().get_encoder()
        expected = whisper(features["input_features"]).last_hidden_state
        hidden = build(Pretrained(model=checkpoints["whisper"])).eval()(batch_of([waveform])).hidden
    torch.testing.assert_close(hidden.values, expected, rtol=0, atol=1e-3)


def test_whisper_refuses_what_it_has_no_positions_for(checkpoints):
    with pytest.raises(ValueError, match=r"^A clip must have at most 1500 frames for Whisper, but has 1525\.$"):
        build(Pretrained(model=checkpoints["whisper"]))(batch_of([torch.zeros(30 * 16_000 + 8_000)]))


def test_standardised_waveforms_have_no_mean_and_unit_variance_without_their_padding():
    audio = Sequences.stack([5 * w + 1 for w in noise(0.1, 0.2)])
    values = standardise(audio)
    assert values[0, 1600:].eq(0).all()
    for row, length in zip(values, audio.lengths, strict=True):
        assert float(row[:length].mean()) == pytest.approx(0, abs=1e-4)
        assert float(row[:length].square().mean()) == pytest.approx(1, abs=1e-3)


def test_masks_are_cut_or_padded_to_the_encoders_frames():
    masked = torch.tensor([[True, False, True]])
    assert fit_frames(masked, 2).tolist() == [[True, False]]
    assert fit_frames(masked, 4).tolist() == [[True, False, True, False]]
