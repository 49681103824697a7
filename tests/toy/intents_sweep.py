"""A study of how commands are understood: `python tests/toy/intents_sweep.py --weights 0 1 --seeds 1 2`."""

import sys
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from orchestrator.cli import StudyOptions, main
from orchestrator.study.layout import Curves, Layout
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.table import Column, Row, Table
from orchestrator.study.value import Value
from tests.toy.intents import ERROR, Intents, Teacher
from trainables.config import explain


class Options(StudyOptions):
    """Options of the study of intents."""

    weights: tuple[float, ...] = (0.0, 1.0)
    seeds: tuple[int, ...] = (1, 2)
    pause: float = 0.0


def study(options: Options) -> tuple[Sweep, Layout]:
    """Does a teacher's opinion of each intent help?"""
    base = Intents(pause=options.pause)
    axes = {"weight": options.weights, "seed": options.seeds}
    judged = Value(f"valid/{ERROR}", "intent error", counts="commands")
    sweep = Sweep(options.name or "intents", grid(base, axes), options.resources(0), axes=list(axes), metric=judged)
    rows = [Row(f"weight_{w:g}", f"λ = {w:g}" if w else "labels alone", {"weight": w}) for w in options.weights]
    sets = {"speaker_test": "new speakers", "utterance_test": "short commands"}
    columns = [
        Column(name, heading, value=Value(f"{name}/{ERROR}", "intent error", counts="commands"))
        for name, heading in sets.items()
    ]
    table = Table(
        "intents", "Intent error (%)", rows, columns, judged, data="hummed commands",
        compared="rows", baseline="weight_0" if 0 in options.weights else None,
        notes=[f"All students start from one teacher: {Teacher()}."],
    )  # fmt: skip
    return sweep, Layout([table], [Curves("curves", "intents", judged)])


if __name__ == "__main__":
    sys.exit(main(Options, study, explain))
