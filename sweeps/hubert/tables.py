"""The tables of the study, with the published numbers beside them and what keeps the two apart."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.study.table import Column, Published, Table
from orchestrator.study.value import Value
from sweeps.hubert.options import Options
from sweeps.hubert.presets import Amount
from sweeps.hubert.rows import Student
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.finetune_ctc import FineTuneCtc

PUBLISHED = Path(__file__).parent.parent / "published"
NEAR = (
    Value("distilled/agreement", "Same unit", digits=3, unit="", better="larger"),
    Value("distilled/kl", "KL", digits=3, unit=""),
    Value("distilled/cosine", "Cosine", digits=3, unit="", better="larger"),
)


def table(
    number: str, found: Sequence[Student], amounts: Sequence[Amount], base: FineTuneCtc, options: Options
) -> Table:
    """A table with a row for each student and a column for each amount."""
    paper = options.preset == "paper"
    value = Value("test-clean/wer", counts="words") if paper else Value("test/cer", counts="characters")
    columns = [Column(amount.name, amount.heading, amount.where, value=value) for amount in amounts]
    names = {"2": "structures and losses", "3": "front-ends", "5": "with and without L_frontend"}
    return Table(
        f"table{number}",
        f"Table {number} of Wang, Tang et al.: {names[number]}, {value.title} (%)",
        [student.row() for student in found],
        columns,
        value,
        Published.read(PUBLISHED / f"hubert_distillation_table{number}.csv") if paper else Published(),
        base.corpus.release(),
        compared="rows",
        baseline="dt_00" if number == "2" else found[0].name,
        reasons=_reasons(base) if paper else [],
        notes=_notes(base, options),
    )


def nearness(found: Sequence[Student], amount: Amount, base: FineTuneCtc) -> Table:
    """How near each distilled student came to its teacher, which all trials that fine-tune it tell."""
    return Table(
        "near",
        "How near students come to their teacher before fine-tuning",
        [student.row() for student in found],
        [Column(near.metric, near.title, amount.where, value=near) for near in NEAR],
        NEAR[0],
        data=base.corpus.release(),
        compared="rows",
        notes=["Means over the frames of the validation split; a head whose loss has no weight has learned nothing."],
    )


def _reasons(base: FineTuneCtc) -> list[str]:
    """Why the paper's preset is not comparable with the paper."""
    start = base.start
    assert isinstance(start, DistilHubert)
    reasons = ["Decoding is greedy; the paper's is with a 4-gram."]
    if start.teacher.own_units() is None:
        reasons.append("Hidden units are clusters of the teacher's last states; the paper's are HuBERT's own.")
    return reasons


def _notes(base: FineTuneCtc, options: Options) -> list[str]:
    start = base.start
    assert isinstance(start, DistilHubert)
    units = "its own" if start.teacher.own_units() else f"{start.clusters.count} clusters of its last states"
    notes = [
        f"Teacher {Path(start.teacher.name).name}, whose hidden units are {units}; λ stands as λ_reg, λ_disc, and 0, 0 "
        "is not distilled."
    ]
    if options.preset == "mini":
        notes.append("The miniature's speakers are in several splits, and its teacher has learned from transcripts.")
    return notes
