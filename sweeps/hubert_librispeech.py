"""Tables 2, 3 and 5 of Wang, Tang et al. (arXiv 2210.15631): HuBERT distilled into small students, fine-tuned."""

import sys
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    # Run as a file: the packages lie beside this folder, and this folder would hide libraries of equal names.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from orchestrator.cli import main
from orchestrator.study.layout import Curves, Layout
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.value import Value
from sweeps.hubert.options import Options
from sweeps.hubert.presets import in_steps, mini, paper
from sweeps.hubert.rows import students
from sweeps.hubert.tables import nearness, table
from trainables.config import explain
from trainables.recipes.distil_hubert import DistilHubert


def study(options: Options) -> tuple[Sweep, Layout]:
    """Distil students of a speech model, fine-tune them with few transcripts, and print Tables 2, 3 and 5."""
    if options.data is None and options.preset == "paper":
        raise ValueError("`data` must be the folder that has LibriSpeech and librispeech_finetuning, but is not given.")
    for name in ("tables", "seeds"):
        if not getattr(options, name):
            raise ValueError(f"`{name}` must have at least one value, but is empty.")
    base, amounts = paper(options) if options.preset == "paper" else mini(options)
    if options.steps is not None:
        if options.steps < 10:
            raise ValueError(f"`steps` must be at least 10, but is {options.steps} instead.")
        base, amounts = in_steps(base, amounts, options.steps)
    start = base.start
    assert isinstance(start, DistilHubert)
    rows = {table: students(start, table, options.preset) for table in options.tables}
    # By their fields: a student may be in several tables, under another name.
    different = {str(student.fields): student for found in rows.values() for student in found}
    recipes = []
    for seed in options.seeds:
        for student in different.values():
            changed = start.model_dump() | student.fields | {"seed": seed}
            for amount in amounts:
                axes = {"start": [changed], "seed": [seed], **{path: [value] for path, value in amount.fields.items()}}
                recipes += grid(base, axes)
    judged = Value(f"valid/{base.selection}")
    sweep = Sweep(
        options.name or f"hubert-{options.preset}",
        recipes,
        options.resources(gpus=1 if options.preset == "paper" else 0),
        axes=("start", "corpus", "optimisation", "subset", "frozen_steps", "front_end_gradient", "seed"),
        metric=judged,
    )
    tables = [table(name, found, amounts, base, options) for name, found in rows.items()]
    if distilled := [student for student in different.values() if student.distilled]:
        tables.append(nearness(distilled, amounts[0], base))
    return sweep, Layout(tables, [Curves("curves", tables[0].name, judged, f"validation {base.selection.upper()} (%)")])


if __name__ == "__main__":
    sys.exit(main(Options, study, explain))
