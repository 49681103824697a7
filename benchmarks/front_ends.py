"""Inference time of distilled students with both front-ends, as Table 4 of arXiv 2210.15631, at full size.

The claims: on filter banks each student is at least 2 times as quick as on waveforms, on one thread; and in int8 it is
once more 1.2 times as quick. Random weights take as long as trained ones.
The peers: the same student on waveforms, as transformers has it; the same in float32.
The floor: the Transformer alone, which both front-ends have.

`python -m benchmarks.front_ends [repeats]` prints the whole table: both stages, one thread and several, one clip at a
time and 32, in eleven minutes with three repeats on two cores. The features are part of the time of filter banks. The
paper has seconds for LibriSpeech's test-clean of 19,453 s on a processor that it does not name; here all is per second
of audio, so that its 4,328 s are 222 ms. Its ratios, of D&T on one thread and on four, stand beside ours.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import AutoModel

from benchmarks.ratios import Claim, Measurement, alternate, ratios
from orchestrator.printing import escape_output
from orchestrator.study.table import Published
from trainables.corpora.audio import SAMPLE_RATE
from trainables.export.speed import calculating_in, processor
from trainables.sequences import Sequences
from trainables.students.attention import attention
from trainables.students.distilled import DeepThin, DistilledStudent, FilterBanks, ShallowWide
from trainables.students.encoders import WaveformEncoder
from trainables.students.quantised import quantised

FLOOR = "the Transformer alone"
BANKS = {
    "D&T": Claim("speed of D&T on filter banks, one thread", "on waveforms", FLOOR, 2.0, "at least"),
    "S&W": Claim("speed of S&W on filter banks, one thread", "on waveforms", FLOOR, 2.0, "at least"),
}
INT8 = Claim("speed of D&T on filter banks in int8", "in float32", "its matrix products", 1.2, "at least")
PUBLISHED = Published.read(Path(__file__).parent.parent / "sweeps/published/hubert_distillation_table4.csv")
SECONDS = 7.4
"""Length of a clip, the mean of test-clean."""
BATCHES = (1, 32)
REPEATS = 3
FRONT_ENDS = ("waveform", "waveform int8", "Fbank", "Fbank int8")
STUDENTS: Mapping[str, Sequence[DistilledStudent]] = {
    "D&T": (DeepThin(), DeepThin(front_end=FilterBanks())),
    "S&W": (ShallowWide(), ShallowWide(front_end=FilterBanks())),
}
"""On waveforms, and on filter banks."""


@dataclass(frozen=True)
class Stages:
    """Seconds for a second of audio."""

    front_end: float
    transformer: float

    @property
    def total(self) -> float:
        """Both."""
        return self.front_end + self.transformer


@dataclass(frozen=True)
class Row:
    """A student's stages in one setting, the median of the repeats by its total."""

    student: str
    front_end: str
    threads: int
    batch: int
    stages: Stages


class Timed:
    """A student's pass over clips, of which the Transformer is timed apart."""

    def __init__(self, run: Callable[[Sequences], object], transformer: nn.Module) -> None:
        self.run, self.begun, self.inside = run, 0.0, 0.0
        transformer.register_forward_pre_hook(lambda *_: setattr(self, "begun", time.perf_counter()))
        transformer.register_forward_hook(lambda *_: setattr(self, "inside", time.perf_counter() - self.begun))

    @torch.no_grad()
    def __call__(self, audio: Sequences) -> Stages:
        """One pass over clips."""
        begun = time.perf_counter()
        self.run(audio)
        whole, seconds = time.perf_counter() - begun, float(audio.lengths.sum()) / SAMPLE_RATE
        return Stages((whole - self.inside) / seconds, self.inside / seconds)


def deployed(student: DistilledStudent, *, int8: bool) -> Timed:
    """A student of random weights as it is exported: on waveforms, transformers' model without any of our changes."""
    encoder = student.build().eval()
    if isinstance(encoder, WaveformEncoder):
        chosen = encoder.model.config
        model: Any = AutoModel.from_config(chosen, attn_implementation=attention(type(encoder.model))).eval()
        model = quantised(model) if int8 else model
        return Timed(lambda audio: model(audio.values), model.encoder)
    composed: Any = quantised(encoder) if int8 else encoder
    return Timed(lambda audio: composed(audio, None), composed.transformer)


def encoders(student: Sequence[DistilledStudent]) -> dict[str, Timed]:
    """One student with both front-ends, in float32 and in int8."""
    made = [deployed(config, int8=int8) for config in student for int8 in (False, True)]
    return dict(zip(FRONT_ENDS, made, strict=True))


def clips(count: int, seconds: float = SECONDS) -> Sequences:
    """Noise: so many clips of one length."""
    values = 0.1 * torch.randn(count, int(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(1))
    return Sequences(values, torch.full((count,), values.shape[1]))


def measure(
    repeats: int, students: Mapping[str, Sequence[DistilledStudent]] = STUDENTS, seconds: float = SECONDS
) -> list[Measurement]:
    """Measure the claims, on processors: one clip at a time, on one thread."""
    found: list[Measurement] = []
    audio = clips(1, seconds)
    for name, student in students.items():
        timed = encoders(student)
        with calculating_in(1):
            spent = alternate({front: lambda t=t: t(audio).total for front, t in timed.items()}, repeats)
        note = f"seconds for a second of a clip of {seconds:g} s: {spent}"
        found.append(Measurement(BANKS[name], ratios(spent["waveform"], spent["Fbank"]), note))
        if name == "D&T":
            found.append(Measurement(INT8, ratios(spent["Fbank"], spent["Fbank int8"]), note))
    return found


def rows(
    repeats: int,
    threads: Sequence[int],
    batches: Sequence[int] = BATCHES,
    students: Mapping[str, Sequence[DistilledStudent]] = STUDENTS,
    seconds: float = SECONDS,
) -> Iterator[Row]:
    """The whole of Table 4 and its neighbours, one setting after the other."""
    for name, student in students.items():
        timed = encoders(student)
        for count in batches:
            audio = clips(count, seconds)
            for number in threads:
                stages: dict[str, list[Stages]] = {front: [] for front in timed}
                with calculating_in(number):
                    for encoder in timed.values():  # chooses kernels and fills pools of memory
                        encoder(clips(1, seconds))
                    for _ in range(repeats):
                        for front, encoder in timed.items():
                            stages[front].append(encoder(audio))
                for front, found in stages.items():
                    yield Row(name, front, number, count, _median(found))


def _median(found: Sequence[Stages]) -> Stages:
    middle = statistics.median_low(stages.total for stages in found)
    return next(stages for stages in found if stages.total == middle)


def table(found: Sequence[Row], student: str, batch: int) -> Table:
    """Table 4 of one student in one size of batches: milliseconds for a second of audio."""
    chosen = [row for row in found if (row.student, row.batch) == (student, batch)]
    made = Table(title=f"{student}, {batch} × {SECONDS:g} s: ms for a second of audio, on {processor()}")
    for heading in ("threads", "front-end", "front-end ms", "Transformer ms", "total ms", "speed-up", "paper's"):
        made.add_column(heading)
    for row in chosen:
        (peer,) = [r.stages.total for r in chosen if (r.threads, r.front_end) == (row.threads, FRONT_ENDS[0])]
        figures = [f"{1000 * x:.1f}" for x in (row.stages.front_end, row.stages.transformer, row.stages.total)]
        made.add_row(str(row.threads), row.front_end, *figures, f"{peer / row.stages.total:.2f} ×", _papers(row))
    return made


def _papers(row: Row) -> str:
    """The paper's ratio for a row; nothing where it has none."""
    found = PUBLISHED.number("speed_up", f"{row.front_end.lower()}_{row.threads}") if row.student == "D&T" else None
    return "" if found is None else f"{found:.2f} ×"


def main(arguments: Sequence[str]) -> int:
    """Measure and print everything. Returns the exit code: 1 where D&T is not twice as quick on one thread."""
    repeats = int(arguments[0]) if arguments else REPEATS
    threads = sorted({1, min(4, len(os.sched_getaffinity(0)))})
    found = list(rows(repeats, threads))
    for student in STUDENTS:
        for batch in BATCHES:
            Console(width=100).print(table(found, student, batch))
    alone = {r.front_end: r.stages.total for r in found if (r.student, r.threads, r.batch) == ("D&T", 1, 1)}
    met = alone["waveform"] / alone["Fbank"] >= BANKS["D&T"].target
    print(json.dumps({"benchmark": "front_ends", "met": met, "rows": [asdict(row) for row in found]}))
    return 0 if met else 1


if __name__ == "__main__":
    escape_output()
    sys.exit(main(sys.argv[1:]))
