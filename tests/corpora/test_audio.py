import os

import numpy as np
import pytest
import soundfile
import soxr

from trainables.corpora.audio import SAMPLE_RATE, UnusableAudio, decode


def sine(rate=SAMPLE_RATE, *, seconds=1.0, pitch=440.0):
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def clip(tmp_path):
    """Writes a clip and gives its path."""

    def write(samples, *, rate=SAMPLE_RATE, name="clip.wav", **options):
        soundfile.write(tmp_path / name, samples, rate, **options)
        return tmp_path / name

    return write


def refusal(path, *, longest=10.0):
    with pytest.raises(UnusableAudio) as error:
        decode(path, longest=longest)
    return error.value


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_any_sound_comes_at_16_khz_with_its_length_and_its_pitch(clip, extension, rate, channels):
    # The second channel is quieter: their mean has three quarters of the amplitude.
    samples = sine(rate)[:, None] * [[1, 0.5][:channels]]
    audio = decode(clip(samples, rate=rate, name=f"clip.{extension}"), longest=10)
    assert audio.dtype == np.int16
    assert audio.ndim == 1
    assert abs(len(audio) - SAMPLE_RATE) <= (0.1 * SAMPLE_RATE if extension == "mp3" else 2)
    spectrum = np.abs(np.fft.rfft(audio[2000:14_000]))
    assert abs(spectrum.argmax() * SAMPLE_RATE / 12_000 - 440) < 2
    amplitude = 0.5 if channels == 1 else 0.375
    assert np.abs(audio[2000:14_000]).max() / 32767 == pytest.approx(amplitude, rel=0.1)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_the_bytes_of_a_file_are_decoded_as_the_file(clip, extension):
    path = clip(sine(22_050, seconds=1.5), rate=22_050, name=f"clip.{extension}")
    assert np.array_equal(decode(path.read_bytes(), longest=10), decode(path, longest=10))
    joined = clip(sine(), name="other.flac").read_bytes() * 2  # each its stream, as in a file
    assert len(decode(joined, longest=10)) == 2 * SAMPLE_RATE
    assert refusal(path.read_bytes(), longest=1).reason == "long clip"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty clip"), (b"Not a sound.", "undecodable clip"), (b"\0\0\0 ftypM4A " + bytes(50), "undecodable clip")],
)
def test_bytes_that_are_no_sound_are_told_as_files_are(tmp_path, data, reason):
    (tmp_path / "file").write_bytes(data)
    found, file = refusal(data), refusal(tmp_path / "file")
    assert (found.reason, found.detail) == (reason, file.detail.replace("file", "the clip", 1))


def test_truncated_bytes_are_told(clip):
    data = clip(sine()).read_bytes()
    assert refusal(data[:5000]).reason == "truncated clip"


def test_16_bit_samples_at_16_khz_stay_what_they_are(clip):
    samples = np.random.default_rng(0).integers(-32768, 32767, 1000).astype(np.int16)
    difference = decode(clip(samples), longest=10).astype(int) - samples
    assert np.abs(difference).max() <= 1


def test_overdriven_samples_are_clipped_and_do_not_wrap(clip):
    audio = decode(clip(4 * sine(), subtype="FLOAT"), longest=10)
    assert (audio.min(), audio.max()) == (-32768, 32767)


def test_a_clip_of_exactly_the_longest_length_is_fine(clip):
    path = clip(sine(seconds=2))
    assert len(decode(path, longest=2)) == 2 * SAMPLE_RATE
    error = refusal(path, longest=1.99)
    assert error.reason == "long clip"
    assert error.detail == "2.0 s, must be at most 1.99 s"


def test_a_missing_clip_and_a_folder(tmp_path):
    assert refusal(tmp_path / "none.mp3").reason == "missing clip"
    assert refusal(tmp_path).reason == "missing clip"


def test_a_file_of_no_bytes(tmp_path):
    path = tmp_path / "clip.mp3"
    path.touch()
    assert refusal(path).reason == "empty clip"


def test_a_header_without_samples(clip):
    error = refusal(clip(sine()[:0]))
    assert error.reason == "empty clip"
    assert "no samples" in error.detail


def test_text_under_the_name_of_a_sound(tmp_path):
    path = tmp_path / "clip.mp3"
    path.write_text("<html>Too many requests</html>\n" * 20)
    error = refusal(path)
    assert error.reason == "undecodable clip"
    assert error.detail == "clip.mp3: not a sound file"


@pytest.mark.parametrize("share", [0.001, 0.5, 0.98])
@pytest.mark.parametrize("extension", ["wav", "flac", "mp3"])  # of OGG, libsndfile does not say it
def test_a_clip_that_was_cut_short(clip, extension, share):
    samples = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE)  # noise, which does not compress away
    path = clip(samples, name=f"clip.{extension}")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path).reason in ("truncated clip", "undecodable clip")


def test_a_wav_that_was_written_to_a_pipe_is_whole(clip):
    # Its writer could not go back to the header and left the largest sizes there.
    path = clip(sine())
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(decode(path, longest=10)) == SAMPLE_RATE


def test_a_file_without_a_header_is_one_sentence_and_a_header_is_read_whatever_the_name(clip, tmp_path):
    (tmp_path / "clip.raw").write_bytes(np.full(1000, 7, np.int16).tobytes())
    assert refusal(tmp_path / "clip.raw").detail == "clip.raw: not a sound file"
    path = clip(sine())
    assert np.array_equal(decode(path.rename(tmp_path / "named.raw"), longest=10), decode(clip(sine()), longest=10))


@pytest.mark.parametrize(
    ("head", "kind"), [(b"\0\0\0\x20ftypM4A ", "MPEG-4"), (b"\x1a\x45\xdf\xa3", "WebM or Matroska")]
)
def test_a_format_that_is_not_read_is_named(head, kind, tmp_path):
    path = tmp_path / "clip.m4a"
    path.write_bytes(head + bytes(1000))
    assert refusal(path).detail == f"clip.m4a is {kind}, but must be WAV, FLAC, OGG or MP3"


@pytest.mark.parametrize(
    "error", [TypeError("no rate"), RuntimeError("internal"), MemoryError(), RecursionError("deep")]
)
@pytest.mark.parametrize("library", [(soundfile.SoundFile, "read"), (soundfile, "SoundFile"), (soxr, "resample")])
def test_whatever_a_library_raises_is_of_that_clip_alone(error, library, clip, monkeypatch):
    def raises(*_, **__):
        raise error

    path = clip(sine(8_000), rate=8_000)
    monkeypatch.setattr(*library, raises)
    found = refusal(path)
    assert found.reason == "undecodable clip"
    assert type(error).__name__ in found.detail


def test_a_name_that_no_file_can_have_is_missing(tmp_path):
    assert refusal(tmp_path / ("x" * 300)).reason == "missing clip"
    os.mkfifo(tmp_path / "pipe.wav")  # to open it would wait for ever
    assert refusal(tmp_path / "pipe.wav").reason == "missing clip"


def test_channels_of_opposite_phase_are_not_called_silent(clip):
    error = refusal(clip(sine()[:, None] * [[1, -1]]))
    assert (error.reason, error.detail) == ("channels of opposite phase", "peak 5.0e-01, but of their mean 1.5e-05")


def test_a_silent_clip(clip):
    assert refusal(clip(np.zeros(1000))).reason == "silent clip"
    assert len(decode(clip(np.full(1000, 0.001)), longest=10)) == 1000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_numbers(clip, value, channels):
    samples = np.tile(sine()[:, None], channels)
    samples[100] = [value, -value][:channels]
    assert refusal(clip(samples, subtype="FLOAT")).reason == "undecodable clip"


def test_two_hours_are_refused_from_the_header(clip, monkeypatch):
    path = clip(sine(), format="WAV")
    size = 2 * 3600 * SAMPLE_RATE * 2
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    path.write_bytes(content)
    os.truncate(path, 44 + size)  # sparse: takes no space
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("it was decoded"))
    error = refusal(path)
    assert error.reason == "long clip"
    assert error.detail == "7200.0 s, must be at most 10 s"
