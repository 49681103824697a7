"""How long an exported recogniser takes for a second of speech, measured on the machine that exports it."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForCTC

import trainables.distilled_ctc
import trainables.whisper_ctc  # noqa: F401 - so that transformers knows them
from trainables.corpora.audio import SAMPLE_RATE
from trainables.students.quantised import quantised

SECONDS = 7.4
"""Length of the clip, the mean of LibriSpeech's test-clean."""
REPEATS = 3


def speed(folder: Path) -> str:
    """A sentence for the card on the model in `folder`: its real-time factors in float32 and in int8."""
    factors = real_time_factors(folder)
    figures = " and ".join(f"{factor:.2g} s in {precision}" for precision, factor in factors.items())
    return (
        f"On one thread of {processor()}, a second of a clip of {SECONDS:g} s takes {figures} "
        "(`--precision int8` quantises linear layers when the model is loaded)."
    )


@torch.no_grad()
def real_time_factors(folder: Path) -> dict[str, float]:
    """Seconds that one thread takes for a second of audio, decoding left out, by precision."""
    model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).eval()
    audio = torch.randn(1, int(SECONDS * SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    with calculating_in(1):
        exact = _seconds(lambda: model(audio)) / SECONDS
        rounded = quantised(model)
        return {"float32": exact, "int8": _seconds(lambda: rounded(audio)) / SECONDS}


@contextmanager
def calculating_in(threads: int) -> Iterator[None]:
    """A block in which torch calculates in so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def processor() -> str:
    """The processor's name, as well as this system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _seconds(run: Callable[[], object]) -> float:
    """The median of some runs; one before them chooses kernels and fills pools of memory."""
    found = []
    for number in range(-1, REPEATS):
        begun = time.perf_counter()
        run()
        if number >= 0:
            found.append(time.perf_counter() - begun)
    return statistics.median(found)
