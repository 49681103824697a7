"""Filter banks as a student's front-end: the frames of its teacher's, normalised by the corpus."""

from pathlib import Path

import torch
from transformers import AutoModel, HubertConfig, WhisperConfig

from trainables import testing
from trainables.sequences import Sequences
from trainables.students.distilled import DeepThin, FilterBanks
from trainables.students.encoders import speech_encoder
from trainables.students.frames import Frames
from trainables.students.front_ends import FilterBankFrontEnd


def clips(*samples: int) -> Sequences:
    torch.manual_seed(2)
    return Sequences.stack([0.1 * torch.randn(count) + 0.01 for count in samples])


def test_filter_banks_have_as_many_frames_as_huberts_convolutions_at_every_length() -> None:
    hubert, banks = Frames.of(HubertConfig()), DeepThin(front_end=FilterBanks()).frames()
    assert all(hubert.count(n) == banks.count(n) for n in range(400, 60_001))
    samples = [*range(400, 1_000, 37), 719, 720, 721, 1_039, 1_040, 16_000, 23_456]
    frames = FilterBankFrontEnd(4)(clips(*samples))
    assert frames.lengths.tolist() == [hubert.count(n) for n in samples]
    assert frames.values.shape == (len(samples), hubert.count(23_456), 4)


def test_for_whisper_they_have_as_many_as_whispers(tmp_path: Path) -> None:
    samples = [*range(400, 1_000, 37), 480, 640, 641, 16_000, 23_456]
    whisper = AutoModel.from_pretrained(testing.whisper(tmp_path / "whisper"), dtype=torch.float32)
    student = DeepThin(width=16, heads=2, layers=1, front_end=FilterBanks()).build(whisper)
    theirs = speech_encoder(whisper)(clips(*samples), None).lengths
    assert student(clips(*samples), None).lengths.tolist() == theirs.tolist()
    counted = DeepThin(front_end=FilterBanks()).frames(WhisperConfig())
    assert [counted.count(n) for n in samples] == theirs.tolist()


def test_a_frame_of_filter_banks_is_of_the_same_samples_as_huberts() -> None:
    # A click is in the windows of HuBERT's frames 24 and 25, [320 t, 320 t + 400); the convolution reaches one further.
    torch.manual_seed(1)
    front_end, silence = FilterBankFrontEnd(4).eval(), torch.full((1, 16_000), 1e-3)
    click = silence.clone()
    click[0, 320 * 25 + 20] = 1
    lengths = torch.tensor([16_000])
    with torch.no_grad():
        plain, clicked = (front_end(Sequences(values, lengths)).values[0] for values in (silence, click))
    changed = (plain - clicked).abs().sum(dim=1) > 1e-6
    assert changed.nonzero().flatten().tolist() == [23, 24, 25, 26]


def test_filter_banks_are_normalised_by_the_corpus() -> None:
    audio = clips(16_000, 20_000)
    energies = FilterBankFrontEnd(4).energies(audio)
    moments = torch.stack([energies.values[energies.mask].mean(dim=0), energies.values[energies.mask].var(dim=0)])
    torch.manual_seed(1)
    front_end = FilterBankFrontEnd(4, moments).eval()
    seen: list[torch.Tensor] = []
    front_end.convolution.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    front_end(audio)
    features = seen[0].transpose(1, 2)
    torch.testing.assert_close(features[energies.mask].mean(dim=0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[energies.mask].std(dim=0), torch.ones(80), atol=1e-4, rtol=0)
    assert features[~energies.mask].eq(0).all()
    assert {"mean", "deviation"} <= front_end.state_dict().keys(), "or a saved student would lose them"
