"""All claims of speed that are ratios, each measured against its peer in one run: `python -m benchmarks`.

Other benchmarks have tables of their own and run by themselves: `python -m benchmarks.orchestration`, `front_ends`,
`gpu_hubert`, `ledger_scale`, `random_kills`, `seeds`, `significance`, `transducer_published`, `tune_scale`,
`two_nodes`.
"""

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from datasets import disable_progress_bars
from rich.console import Console
from rich.table import Table
from transformers.utils import logging as transformers_logging

from benchmarks import (
    distillation_loss,
    distillation_overhead,
    distillation_step,
    evaluation,
    finetuning,
    front_ends,
    loader,
    manifest,
    peak,
    preparation,
    shared_preparation,
    transducer_loss,
    two_workers,
)
from benchmarks.ratios import Measurement, device
from orchestrator.printing import escape_output
from trainables.cache import write_atomically

MODULES = (
    distillation_overhead, distillation_loss, distillation_step, finetuning, peak, preparation, shared_preparation,
    two_workers, loader, evaluation, manifest, front_ends, transducer_loss,
)  # fmt: skip
BENCHMARKS = {module.__name__.rpartition(".")[2]: module.measure for module in MODULES}
LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "numpy", "pyarrow", "soundfile", "soxr")
WIDTH = 80
BUSY = 1.0
"""Mean length of the queue for processors in the last minute, above which a warning is printed."""


def main(
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    repeats: int = 5,
    json: Path | None = None,
) -> int:
    """Measure, print one table of ratios, and write all repeats as JSON.

    Exits with 1 where a target was missed. What needs a GPU is "not measured" without one. An interrupt ends it with
    what was measured until then, and 130.

    Args:
        names: Benchmarks to run, as the files are called; by default all.
        repeats: Rounds in which the arms of a benchmark take turns; one more goes before them uncounted.
        json: File to write.
    """
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"A benchmark must be one of {', '.join(BENCHMARKS)}, but is {unknown[0]!r} instead.", file=sys.stderr)
        return 2
    if repeats < 1:
        print(f"`repeats` must be at least 1, but is {repeats} instead.", file=sys.stderr)
        return 2
    if json is not None and (json.is_dir() or not os.access(json.parent, os.W_OK)):
        print(f"`json` must be a file in a folder that can be written to, but is {json} instead.", file=sys.stderr)
        return 2
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    found: list[Measurement] = []
    took: dict[str, float] = {}
    if (load := os.getloadavg()[0]) > BUSY:
        print(
            f"The machine was busy in the last minute (load {load:.1f}); other work puts ratios off.", file=sys.stderr
        )
    interrupted = False
    try:
        for name in names or BENCHMARKS:
            print(f"{name} …", file=sys.stderr)
            begun = time.perf_counter()
            found += BENCHMARKS[name](repeats)
            took[name] = round(time.perf_counter() - begun, 1)
            print(f"{name}: {took[name]:.0f} s", file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        interrupted = True
    if found:
        Console(width=WIDTH).print(table(found, repeats))
        if json is not None:
            write_atomically(json, document(found, took))
    if interrupted:
        return 130
    return 1 if any(measurement.met is False for measurement in found) else 0


def table(found: Sequence[Measurement], repeats: int) -> Table:
    """The table of all measurements, a row for each claim."""
    made = Table(title=f"Medians of {repeats} repeats, with their range, on {hardware()}", expand=True, show_lines=True)
    for heading in ("claim", "peer"):
        made.add_column(heading, ratio=1, overflow="fold")
    for heading in ("measured", "target", ""):
        made.add_column(heading, no_wrap=True)
    for measurement in found:
        claim = measurement.claim
        verdict = {None: "", True: "met", False: "MISSED"}[measurement.met]
        sign = "≥" if claim.better == "at least" else "≤"
        made.add_row(claim.what, claim.peer, value(measurement), f"{sign} {claim.target:g} {claim.unit}", verdict)
    return made


def value(measurement: Measurement) -> str:
    """The median and the range of a measurement, in words, or that it was not measured."""
    if measurement.median is None:
        return "not measured"
    low, high, unit = min(measurement.repeats), max(measurement.repeats), measurement.claim.unit
    return f"{measurement.median:.3g} {unit}\n{low:.3g} to {high:.3g}"


def document(found: Sequence[Measurement], took: dict[str, float]) -> str:
    """All measurements as JSON, with the device, the versions and the seconds that each benchmark `took`."""
    rows: list[dict[str, Any]] = [
        {**asdict(m.claim), "repeats": m.repeats, "median": m.median, "met": m.met, "note": m.note} for m in found
    ]
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    where = {"device": hardware(), "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}
    versions["python"] = platform.python_version()
    return json.dumps({**where, "versions": versions, "seconds": took, "measurements": rows}, indent=1)


def hardware() -> str:
    """The GPU's name, or how many cores of which processor."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {models[0] if models else platform.processor()}"


if __name__ == "__main__":
    escape_output()
    told = " ".join((main.__doc__ or "").partition("Args:")[0].split())
    told += f" Benchmarks: {', '.join(BENCHMARKS)}."
    sys.exit(tyro.cli(main, prog="python -m benchmarks", description=told))
