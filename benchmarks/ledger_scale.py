"""A study of 1 000 cells: how long the driver takes to plan it, to read its ledger and to make its table.

`python -m benchmarks.ledger_scale [cells]`. No cell trains: only what grows with their number is measured.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable
from typing_extensions import override

from orchestrator.local import LocalRunner
from orchestrator.printing import escape_output
from orchestrator.results.evidence import Evidence
from orchestrator.results.rendering import FORMS
from orchestrator.results.tables import sheet
from orchestrator.study.estimates import Estimates
from orchestrator.study.events import Listener
from orchestrator.study.layout import Layout
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study, Submission
from orchestrator.study.sweep import Sweep, Trial, grid
from orchestrator.study.table import Column, Table
from orchestrator.study.value import Value
from sweeps.commonvoice20 import LANGUAGES, Options
from sweeps.commonvoice20 import layout as paper
from tests.toy.recipe import Toy
from trainables import testing
from trainables.config import Preparation
from trainables.corpora.common_voice import CommonVoice
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import Run
from trainables.students.ctc import CTCStudent, Pretrained, Scratch
from trainables.teachers.language_model import LanguageModel

TARGET = 2.0
"""Seconds that each of the driver's own parts may take."""
GROWTH = 10.0
"""MiB that the driver may grow by between a tenth of the results and all of them."""
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


class NoOp(Toy):
    """A cell that is finished when it has begun."""

    @override
    def preparations(self) -> tuple[Preparation, ...]:
        return ()

    @override
    def run(self, run: Run) -> dict[str, float]:
        return {"step": float(self.length), "test/cer": 50 + self.weight}


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure the block, under this name."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 3)


class Memory(Listener):
    """Notes this process's memory, in MiB, after each tenth of the study."""

    def __init__(self, cells: int) -> None:
        self.cells, self.done = cells, 0
        self.seen: dict[int, float] = {}

    @override
    def ended(self, trial: Trial, result: Result) -> None:
        self.done += 1
        if self.done % max(1, self.cells // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen[self.done] = round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def no_ops(cells: int) -> Sweep:
    """A study of toys: a row of five weights for each language."""
    languages = [f"l{i:04d}" for i in range(max(1, cells // len(WEIGHTS)))]
    recipes = grid(NoOp(language="l"), {"language": languages, "weight": WEIGHTS})
    return Sweep("toys", recipes, axes=("language", "weight"))


def distillation(base: DistillL2S, cells: int) -> Sweep:
    """The paper's 20 languages and five columns, with as many seeds as that takes."""
    seeds = range(max(1, cells // (5 * len(LANGUAGES))))
    axes = {"corpus.language": LANGUAGES, "seed": seeds}
    scratch = Scratch(model=base.student.encoder.model).model_dump()
    recipes = grid(base, {**axes, "weight": [0.0, 0.25, 0.5, 1.0]})
    recipes += grid(base, {**axes, "weight": [0.0], "student.encoder": [scratch]})
    return Sweep("distillation", recipes, axes=("corpus.language", "weight", "student.encoder", "seed"))


def tiny(folder: Path) -> DistillL2S:
    """A cell on tones and models of a few thousand weights, whose digests alone are read."""
    for language in LANGUAGES:
        testing.corpus(folder / "release", language, sizes=(4, 2, 2))
    return DistillL2S(
        corpus=CommonVoice(root=str(folder / "release"), language="cs"),
        student=CTCStudent(encoder=Pretrained(model=str(testing.wav2vec2(folder / "student")))),
        teacher=LanguageModel(model=str(testing.bert(folder / "teacher"))),
    )


def plan(sweep: Sweep, storage: Storage) -> list[Trial]:
    """All that a submission does before it runs anything: the trials, desired minus finished, in their order."""
    ledger = Ledger.of(storage, sweep)
    results = ledger.results([trial.signature for trial in sweep.trials])
    missing = [trial for trial in sweep.trials if trial.signature not in results]
    ledger.begun([trial.signature for trial in missing])
    return Estimates.of(sweep.axes[0], sweep.trials, results).longest_first(missing)


def measure(
    kind: str, make: Callable[[], Sweep], layout: Layout, storage: Storage, run: Callable[[Sweep, Ledger], None]
) -> dict[str, float]:
    """Seconds of each of the driver's parts, in a study whose trials get their results from `run`."""
    clock = Clock()
    with clock(f"{kind}: grid of recipes"):
        sweep = make()
    with clock(f"{kind}: signatures"):
        signatures = [trial.signature for trial in sweep.trials]
    with clock(f"{kind}: plan, nothing finished"):
        assert len(plan(sweep, storage)) == len(signatures)
    ledger = Ledger.of(storage, sweep)
    ledger.open(sweep)
    run(sweep, ledger)
    with clock(f"{kind}: results"):
        ledger.results(signatures)
    with clock(f"{kind}: histories"):
        ledger.histories(signatures)
    with clock(f"{kind}: grid, signatures and plan, all finished"):
        assert not plan(make(), storage)
    Submission.of(sweep, layout, "").write(ledger.storage)
    with clock(f"{kind}: study read back, table in all forms"):
        study = Study.read(ledger)
        first = study.layout.tables[0]
        table = sheet(study, first, {first.name: Evidence.of(first, study.trials, study.results, ledger)})
        assert not any("…" in form(table) for form in FORMS.values())
    return clock.seconds


def report(cells: int, seconds: Mapping[str, float], memory: Mapping[int, float], writing: float) -> bool:
    """Print what was measured; returns whether every target was met."""
    table = RichTable("part", "measured", "target", "", title=f"{cells} cells")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.2f} s", f"{TARGET:g} s", "met" if value <= TARGET else "MISSED")
    first, last = min(memory), max(memory)
    growth = memory[last] - memory[first]
    verdict = "met" if growth <= GROWTH else "MISSED"
    table.add_row(f"memory with {first} results", f"{memory[first]:.1f} MiB", "", "")
    table.add_row(f"memory with {last} results", f"{memory[last]:.1f} MiB", f"+{GROWTH:g} MiB", verdict)
    table.add_row("running a no-op cell in this process", f"{1000 * writing / cells:.1f} ms", "", "")
    Console().print(table)
    met = growth <= GROWTH and all(value <= TARGET for value in seconds.values())
    found = {"seconds": seconds, "memory_mib": memory, "cell_ms": round(1000 * writing / cells, 2)}
    print(json.dumps({"benchmark": "ledger_scale", "cells": cells, "met": met, **found}))
    return met


def main(arguments: Sequence[str]) -> int:
    """Measure. Returns the exit code: 1 when a target was missed."""
    cells = int(arguments[0]) if arguments else 1000
    memory = Memory(cells)
    clock = Clock()

    def run(sweep: Sweep, ledger: Ledger) -> None:
        lease = Lease(ledger.storage)
        with lease.hold(print), clock("writing"):
            LocalRunner().run(sweep, sweep.trials, ledger, lease, memory)

    def pretend(sweep: Sweep, ledger: Ledger) -> None:
        for trial in sweep.trials:
            ledger.begin(trial)
            ledger.finish(trial.signature, Result("finished", {"test/cer": 10.0}, seconds=60))

    with tempfile.TemporaryDirectory() as scratch:
        storage, base = Storage.at(f"{scratch}/runs"), tiny(Path(scratch))
        columns = [Column(f"w{weight:g}", f"λ = {weight:g}", {"weight": weight}) for weight in WEIGHTS]
        toys = Layout([Table("table1", "Toys", "language", columns, Value("test/cer"), notes=["A note."])])
        seconds = measure("no-op", lambda: no_ops(cells), toys, storage, run)
        seconds |= measure(
            "Distill-L2S", lambda: distillation(base, cells), paper(Options(), "tones"), storage, pretend
        )
    return 0 if report(cells, seconds, memory.seen, clock.seconds["writing"]) else 1


if __name__ == "__main__":
    escape_output()
    sys.exit(main(sys.argv[1:]))
