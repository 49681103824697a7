"""Hidden states of several layers at once, of encoders of every family."""

from typing import cast, get_args

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel

from trainables import testing
from trainables.sequences import Sequences
from trainables.students.ctc import FAMILIES
from trainables.students.distilled import DeepThin, FilterBanks
from trainables.students.encoders import Wav2Vec2BertEncoder, WhisperFrames, speech_encoder, standardise
from trainables.students.states import BelowLayers, width_of
from trainables.students.whisper_parts import convolved, log_mel

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")


@pytest.fixture(params=(*FAMILIES, *testing.BASES))
def encoder(request, tmp_path):
    model = AutoModel.from_pretrained(testing.speech_encoder(request.param, tmp_path), dtype=torch.float32)
    return speech_encoder(model).eval()


def clips(*seconds):
    torch.manual_seed(2)
    return Sequences.stack([0.1 * torch.randn(int(16_000 * s)) for s in seconds])


@torch.no_grad()
def test_states_are_the_layers_inputs_and_outputs(encoder):
    audio, last = clips(0.8), len(encoder.layers)
    states = encoder.states(audio, range(last + 1))
    seen = []
    encoder.layers[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    encoder.layers[1].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    output = encoder(audio, None)
    frames = int(output.lengths)
    torch.testing.assert_close(states[0].values, seen[0][:, :frames])
    middle = functional.layer_norm(seen[1], seen[1].shape[2:]) if encoder.pre_norm else seen[1]
    torch.testing.assert_close(states[1].values, middle[:, :frames])
    assert torch.equal(states[last].values, output.values)


@torch.no_grad()
def test_a_clip_alone_has_the_states_it_has_beside_a_longer_one(encoder):
    both = clips(0.5, 1.1)
    alone = Sequences(both.values[:1, : int(both.lengths[0])], both.lengths[:1])
    below = "convolutions" if isinstance(encoder, WhisperFrames) else "projected"
    for number, states in encoder.states(alone, (below, 0, 1, 2)).items():
        beside = encoder.states(both, (number,))[number]
        frames = int(states.lengths)
        assert int(beside.lengths[0]) == frames
        torch.testing.assert_close(beside.values[0, :frames], states.values[0, :frames], atol=1e-5, rtol=1e-4)
        assert not beside.values[0, frames:].any()


def test_nothing_is_kept_that_was_not_asked_for(encoder):
    assert list(encoder.states(clips(0.5), (1,))) == [1]
    with pytest.raises(ValueError, match=r"from 0 to its last, 2, but \[-1, 3\] were asked for"):
        encoder.states(clips(0.5), (-1, 1, 3))


@torch.no_grad()
def test_states_below_the_layers_are_what_the_parts_of_the_model_give(encoder):
    audio = clips(0.8)
    frames = int(encoder(audio, None).lengths)  # which notes how long the clip is
    if isinstance(encoder, WhisperFrames):
        stem, mel = encoder.encoder, log_mel(encoder.mel, audio)
        config, given = stem.config, {"convolutions": convolved(stem.conv1, stem.conv2, mel).values}
    elif isinstance(encoder, Wav2Vec2BertEncoder):
        config, projection = encoder.model.config, encoder.model.feature_projection
        given = {"projected": projection(encoder.front_end(audio).values)[0]}
    else:
        config, projection = encoder.model.config, encoder.model.feature_projection
        convolutions = encoder.model.feature_extractor(standardise(audio)).mT
        given = {"convolutions": convolutions, "projected": projection.projection(projection.layer_norm(convolutions))}
    for name, expected in given.items():
        state = cast("BelowLayers", name)
        found = encoder.states(audio, (state, 1))
        assert found.keys() == {state, 1}
        assert int(found[state].lengths) == frames
        torch.testing.assert_close(found[state].values, expected[:, :frames])
        assert width_of(config, state) == expected.shape[2]
    for state in get_args(BelowLayers):
        if state in given:
            continue
        with pytest.raises(ValueError, match=f"to give the state '{state}', but w"):
            encoder.states(audio, (state,))


@torch.no_grad()
def test_a_hook_below_is_called_until_it_is_removed(encoder):
    seen = []
    hook = encoder.hook_below("convolutions" if isinstance(encoder, WhisperFrames) else "projected", seen.append)
    encoder(clips(0.5), None)
    hook.remove()
    encoder(clips(0.5), None)
    assert len(seen) == 1


def test_an_encoder_of_two_parts_has_no_states_below_its_layers():
    student = DeepThin(width=16, feed_forward=24, layers=1, heads=2, position_groups=2, front_end=FilterBanks()).build()
    with pytest.raises(ValueError, match="must be one pretrained model to give its 'projected', but is put together"):
        student.states(clips(0.5), ("projected",))
