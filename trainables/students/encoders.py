"""transformers' speech encoders behind one interface: 16 kHz waveforms in, hidden states out, usually 50 a second."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from typing_extensions import override

from trainables.sequences import Sequences
from trainables.students import padding
from trainables.students.fbank import KaldiFilterBanks
from trainables.students.noted import Noted, convolved_or_known, hidden_away, hide
from trainables.students.states import BelowLayers, State, width_of
from trainables.students.whisper_parts import convolved, log_mel, mel_spectrogram, positioned, transformed

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder


Wanted = TypeVar("Wanted", bound=State)
CONVOLVED_BY = "conv_stride", "feat_extract_activation"
"""Fields of a config that say of its convolutions what the names and shapes of their weights do not."""


class SpeechEncoder(nn.Module, ABC):
    """An encoder of any family: waveforms at 16 kHz in, hidden states of one layer or of several out."""

    width: int
    """Features of a hidden state."""
    skips_layers: bool
    """Whether layerdrop leaves out layers in some steps of training."""
    pre_norm: bool
    """Whether a layer adds to its input without normalising the sum, so that a few features of it become huge."""

    @abstractmethod
    def forward(
        self,
        audio: Sequences,
        masked: Bool[Tensor, "batch frames"] | None,
        channels: Bool[Tensor, "batch features"] | None = None,
    ) -> Sequences:
        """Hidden states (batch, frames, features) of waveforms (batch, samples).

        The Transformer does not see what is `masked`: those frames, and those `channels` of all frames of a clip.
        """

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The Transformer's layers, the lowest first."""

    @property
    @abstractmethod
    def convolutions(self) -> tuple[nn.Module, ...]:
        """What has weights below the Transformer and its projection, the lowest first; all goes through the last."""

    def hook_below(self, state: BelowLayers, take: Callable[[Tensor], None]) -> RemovableHandle:
        """Have `take` called with a state below the layers, (batch, frames, features), in each pass from now on.

        Raises ValueError where the encoder has no such state.
        """
        raise ValueError(f"An encoder must be one pretrained model to give its {state!r}, but is put together of two.")

    def convolves_as(self, other: "SpeechEncoder") -> bool:
        """Whether its state `convolutions` of any clip is the other's, now and for good, and may be `given` from there.

        Both have the same convolutions with the same weights, and here none of these learns.
        """
        return False

    def given(self, convolutions: Sequences) -> AbstractContextManager[None]:
        """A block in which that state, (batch, frames, features), is taken for what the convolutions would make.

        Raises ValueError where the encoder does not convolve as any other.
        """
        raise ValueError("An encoder must convolve as another does to be given its frames, but does not.")

    def states(self, audio: Sequences, wanted: Collection[Wanted]) -> dict[Wanted, Sequences]:
        """The hidden states that are `wanted` (`states.py`), (batch, frames, features) each.

        The last layer's are what the encoder as a whole gives; where layers are pre-norm, those of the layers between
        are normalised without weights, since else a distance to them would be about their few huge features. Nothing is
        kept of the states that are not asked for.
        Raises ValueError for a state that the encoder does not have.
        """
        last, layers = len(self.layers), {state for state in wanted if isinstance(state, int)}
        if wrong := sorted(layers - {*range(last + 1)}):
            raise ValueError(
                f"The layers of an encoder must be from 0 to its last, {last}, but {wrong} were asked for."
            )
        caught: dict[State, Tensor] = {}

        def catch_input(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            caught[0] = arguments[0]

        def catch(number: int, _: nn.Module, __: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            caught[number] = functional.layer_norm(hidden, hidden.shape[2:]) if self.pre_norm else hidden

        with ExitStack() as hooks:
            for state in wanted:
                if not isinstance(state, int):
                    hooks.enter_context(self.hook_below(state, partial(caught.__setitem__, state)))
                elif state == 0:
                    hooks.enter_context(self.layers[0].register_forward_pre_hook(catch_input))
                elif state < last:
                    hooks.enter_context(self.layers[state - 1].register_forward_hook(partial(catch, state)))
            output = self(audio, None)
        states = {state: Sequences(hidden, output.lengths).zero_padded() for state, hidden in caught.items()}
        return cast("dict[Wanted, Sequences]", states | ({last: output} if last in layers else {}))


def speech_encoder(model: PreTrainedModel, *, standardised: bool = True) -> SpeechEncoder:
    """A model of one of the families of students, or its encoder where it has a decoder too, behind that interface.

    `standardised` says whether convolutions over waveforms are given these with zero mean and unit variance.
    """
    match model.config.model_type:
        case "whisper":
            return WhisperFrames(cast("WhisperEncoder", model.get_encoder()))
        case "wav2vec2-bert":
            return Wav2Vec2BertEncoder(model)
        case _:
            return WaveformEncoder(model, standardised=standardised)


class WaveformEncoder(SpeechEncoder):
    """wav2vec 2.0, HuBERT, WavLM, data2vec-audio: convolutions over the waveform, then a transformer."""

    def __init__(self, model: Any, *, standardised: bool = True) -> None:
        """`standardised` as the model was pretrained: HuBERT base takes waveforms as they are."""
        super().__init__()
        self.model, self.standardised, self.noted = model, standardised, Noted()
        self.width, self.skips_layers = model.config.hidden_size, model.config.layerdrop > 0
        self.pre_norm = getattr(model.config, "do_stable_layer_norm", False)
        model._mask_hidden_states = partial(hidden_away, model, self.noted)
        model.feature_extractor.forward = partial(convolved_or_known, self.noted, model.feature_extractor.forward)
        self.lengths = padding.kept_out(model)

    @property
    @override
    def layers(self) -> nn.ModuleList:
        return self.model.encoder.layers

    @property
    @override
    def convolutions(self) -> tuple[nn.Module, ...]:
        return (self.model.feature_extractor,)

    @override
    def hook_below(self, state: BelowLayers, take: Callable[[Tensor], None]) -> RemovableHandle:
        if state == "convolutions":
            return self.model.feature_extractor.register_forward_hook(lambda _, __, output: take(output.mT))
        return _hook_projection(self.model, take)

    @override
    def convolves_as(self, other: SpeechEncoder) -> bool:
        if not isinstance(other, WaveformEncoder) or self.standardised != other.standardised:
            return False
        if any(weight.requires_grad for weight in self.model.feature_extractor.parameters()):
            return False
        if any(getattr(self.model.config, name) != getattr(other.model.config, name) for name in CONVOLVED_BY):
            return False
        own, others = (encoder.model.feature_extractor.state_dict() for encoder in (self, other))
        return own.keys() == others.keys() and all(torch.equal(own[name], others[name]) for name in own)

    @override
    @contextmanager
    def given(self, convolutions: Sequences) -> Iterator[None]:
        self.noted.convolutions = convolutions.values.mT
        try:
            yield
        finally:
            self.noted.convolutions = None

    @override
    def forward(
        self,
        audio: Sequences,
        masked: Bool[Tensor, "batch frames"] | None,
        channels: Bool[Tensor, "batch features"] | None = None,
    ) -> Sequences:
        waveform, self.noted.channels = standardise(audio) if self.standardised else audio.values, channels
        lengths = self.model._get_feat_extract_output_lengths(audio.lengths)
        self.lengths.samples, self.lengths.frames = audio.lengths, lengths
        frames = int(self.model._get_feat_extract_output_lengths(waveform.shape[1]))
        output = self.model(
            waveform,
            attention_mask=audio.mask.long(),
            mask_time_indices=None if masked is None else fit_frames(masked, frames),
        )
        return Sequences(output.last_hidden_state, lengths).zero_padded()


class Wav2Vec2BertEncoder(SpeechEncoder):
    """w2v-BERT 2.0: a Conformer over stacked Kaldi filter banks."""

    pre_norm = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.width, self.skips_layers = model.config.hidden_size, model.config.layerdrop > 0
        self.front_end, self.noted = KaldiFilterBanks(), Noted()
        model._mask_hidden_states = partial(hidden_away, model, self.noted)

    @property
    @override
    def layers(self) -> nn.ModuleList:
        return self.model.encoder.layers

    @property
    @override
    def convolutions(self) -> tuple[nn.Module, ...]:
        return ()

    @override
    def hook_below(self, state: BelowLayers, take: Callable[[Tensor], None]) -> RemovableHandle:
        width_of(self.model.config, state)  # refuses its convolutions
        return _hook_projection(self.model, take)

    @override
    def forward(
        self,
        audio: Sequences,
        masked: Bool[Tensor, "batch frames"] | None,
        channels: Bool[Tensor, "batch features"] | None = None,
    ) -> Sequences:
        features, self.noted.channels = self.front_end(audio), channels
        output = self.model(
            features.values,
            attention_mask=features.mask.long(),
            mask_time_indices=None if masked is None else fit_frames(masked, features.values.shape[1]),
        )
        return Sequences(output.last_hidden_state, features.lengths).zero_padded()


def _hook_projection(model: Any, take: Callable[[Tensor], None]) -> RemovableHandle:
    """Some families give beside the projected frames those before it, for losses that are not ours."""
    return model.feature_projection.register_forward_hook(
        lambda _, __, output: take(output[0] if isinstance(output, tuple) else output)
    )


class WhisperFrames(SpeechEncoder):
    """Whisper's encoder on clips of any length up to its 30 s."""

    pre_norm = True

    def __init__(self, encoder: "WhisperEncoder") -> None:
        super().__init__()
        self.encoder = encoder
        self.width, self.skips_layers = encoder.config.d_model, encoder.config.encoder_layerdrop > 0
        encoder.embed_positions.requires_grad_(False)  # fixed sinusoids, which from_pretrained forgets
        self.mel = mel_spectrogram(encoder.num_mel_bins)

    @property
    @override
    def layers(self) -> nn.ModuleList:
        return self.encoder.layers

    @property
    @override
    def convolutions(self) -> tuple[nn.Module, ...]:
        return self.encoder.conv1, self.encoder.conv2

    @override
    def hook_below(self, state: BelowLayers, take: Callable[[Tensor], None]) -> RemovableHandle:
        width_of(self.encoder.config, state)  # refuses its projection
        return self.encoder.conv2.register_forward_hook(lambda _, __, output: take(functional.gelu(output).mT))

    @override
    def forward(
        self,
        audio: Sequences,
        masked: Bool[Tensor, "batch frames"] | None,
        channels: Bool[Tensor, "batch features"] | None = None,
    ) -> Sequences:
        mel = log_mel(self.mel, audio)
        if masked is not None:
            hidden_away = fit_frames(masked, -(-mel.values.shape[1] // 2)).repeat_interleave(2, dim=1)
            mel = Sequences(mel.values.masked_fill(hidden_away[:, : mel.values.shape[1], None], 0), mel.lengths)
        frames = convolved(self.encoder.conv1, self.encoder.conv2, mel)
        frames = Sequences(hide(frames.values, None, channels, None), frames.lengths)
        return transformed(self.encoder, positioned(self.encoder.embed_positions, frames))


def standardise(audio: Sequences) -> Float[Tensor, "batch samples"]:
    """Each waveform with zero mean and unit variance, as the encoders were pretrained on; padding stays 0."""
    mask, lengths = audio.mask, audio.lengths[:, None]
    centred = (audio.values - audio.values.sum(dim=1, keepdim=True) / lengths) * mask
    variance = centred.square().sum(dim=1, keepdim=True) / lengths
    return centred / (variance + 1e-7).sqrt()


def fit_frames(masked: Bool[Tensor, "batch frames"], frames: int) -> Bool[Tensor, "batch {frames}"]:
    """Time masks (batch, frames) cut or padded to the frames that an encoder makes of the same clips.

    The loader draws masks over samples // hop frames, 50 of a second; wav2vec 2.0 makes 49 of it (frames.py).
    """
    return functional.pad(masked, (0, max(0, frames - masked.shape[1])))[:, :frames]
