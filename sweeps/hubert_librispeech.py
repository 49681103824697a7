"""Tables 2, 3 and 5 and Figure 3 of Wang, Tang et al. (arXiv 2210.15631): HuBERT's small students, fine-tuned."""

import sys
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    # Run as a file: the packages lie beside this folder, and this folder would hide libraries of equal names.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from orchestrator.cli import main
from orchestrator.study.layout import Curves, Layout, Profile
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.value import Value
from sweeps.hubert.options import Options
from sweeps.hubert.presets import in_steps, mini, paper
from sweeps.hubert.rows import students
from sweeps.hubert.tables import nearness, similarity, table, weights
from trainables.config import explain
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.layer_similarity import LayerSimilarity


def study(options: Options) -> tuple[Sweep, Layout]:
    """Distil students of a speech model, fine-tune them with few transcripts; Tables 2, 3 and 5, and Figure 3."""
    if options.data is None and options.preset == "paper":
        raise ValueError("`data` must be the folder that has LibriSpeech and librispeech_finetuning, but is not given.")
    for name in ("tables", "seeds"):
        if not getattr(options, name):
            raise ValueError(f"`{name}` must have at least one value, but is empty.")
    if options.ceiling and "2" not in options.tables:
        raise ValueError("`ceiling` is a row of Table 2, so `tables` must have 2, but has not.")
    base, amounts = paper(options) if options.preset == "paper" else mini(options)
    if options.steps is not None:
        if options.steps < 10:
            raise ValueError(f"`steps` must be at least 10, but is {options.steps} instead.")
        base, amounts = in_steps(base, amounts, options.steps)
    base = base.model_copy(update={"similarity": LayerSimilarity(clips=options.similarity_clips)})
    start = base.start
    assert isinstance(start, DistilHubert)
    rows = {table: students(start, table, options.preset) for table in options.tables}
    # By their fields: a student may be in several tables, under another name.
    different = {str(student.fields): student for found in rows.values() for student in found}
    recipes = []
    for seed in options.seeds:
        starts = [start.model_dump() | student.fields | {"seed": seed} for student in different.values()]
        starts += [start.teacher.folder.model_dump()] if options.ceiling else []
        for chosen in starts:
            for amount in amounts:
                own = {path: [value] for path, value in amount.fields.items()}
                recipes += grid(base, {"start": [chosen], "seed": [seed], **own})
    judged = Value(f"valid/{base.selection}")
    sweep = Sweep(
        options.name or f"hubert-{options.preset}",
        recipes,
        options.resources(gpus=1 if options.preset == "paper" else 0),
        axes=("start", "corpus", "optimisation", "subset", "frozen_steps", "front_end_gradient", "seed"),
        metric=judged,
    )
    tables = [table(name, found, amounts, base, options) for name, found in rows.items()]
    tables += [weights(made, amounts, base) for made in tables]
    if distilled := [student for student in different.values() if student.distilled]:
        tables.append(nearness(distilled, amounts[0], base))
    figures: list[Curves | Profile] = [
        Curves("curves", tables[0].name, judged, f"validation {base.selection.upper()} (%)")
    ]
    if "2" in rows and base.similarity.clips:
        alike, figure3 = similarity(rows["2"], amounts[:2], base)  # as in the paper, without the largest amount
        tables.append(alike)
        figures.append(figure3)
    return sweep, Layout(tables, figures)


if __name__ == "__main__":
    sys.exit(main(Options, study, explain))
