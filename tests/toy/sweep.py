"""A study of toy recipes: `python tests/toy/sweep.py --languages cs ro --weights 0 0.5 …`."""

import sys
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from orchestrator.cli import StudyOptions, main
from orchestrator.study.layout import Curves, Layout
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.table import Column, Published, Table
from orchestrator.study.value import Value
from tests.toy.recipe import Toy
from trainables.config import explain

PUBLISHED = Path(__file__).parent.parent.parent / "sweeps" / "published" / "distill_l2s_table1.csv"


class Options(StudyOptions):
    """Options of the toy study."""

    languages: tuple[str, ...] = ("cs", "ro")
    weights: tuple[float, ...] = (0.0, 0.5)
    length: int = 8
    seconds: float = 0.05
    preparing: float = 0.0
    slow: str = ""
    """The only language whose preparation takes that long; by default all of them."""
    ballast: int = 0
    log: str = ""
    trouble: str = ""
    start: int = 0
    """Steps of a toy of each language that all cells of the language start from; by default there is none."""


def study(options: Options) -> tuple[Sweep, Layout]:
    """A study that is over soon."""
    base = Toy(
        language="cs",
        length=options.length,
        seconds=options.seconds,
        preparing=0.0 if options.slow else options.preparing,
        ballast=options.ballast,
        log=options.log,
        trouble=options.trouble,
    )
    recipes = grid(base, {"language": options.languages, "weight": options.weights})
    recipes = [
        r.model_copy(update={"preparing": options.preparing}) if r.language == options.slow else r for r in recipes
    ]
    if options.start:
        starts = {
            r.language: base.model_copy(update={"language": r.language, "length": options.start}) for r in recipes
        }
        recipes = [r.model_copy(update={"start": starts[r.language]}) for r in recipes]
    columns = [Column(f"w{weight:g}", f"λ = {weight:g}", {"weight": weight}) for weight in sorted(options.weights)]
    judged = Value("valid/cer")
    axes = ("language", "weight", "start")
    sweep = Sweep(options.name or "toy", recipes, options.resources(0), axes=axes, metric=judged)
    table = Table(
        "table1",
        "Toy",
        "language",
        columns,
        Value("test/cer"),
        Published.read(PUBLISHED),
        "toy data",
        baseline="w0" if 0 in options.weights else None,
        notes=["A toy."],
    )
    return sweep, Layout([table], [Curves("curves", "table1", judged)])


if __name__ == "__main__":
    sys.exit(main(Options, study, explain))
