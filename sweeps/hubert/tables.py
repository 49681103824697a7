"""The tables of the study, with the published numbers beside them and what keeps the two apart."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.study.layout import Profile
from orchestrator.study.table import Column, Published, Row, Table
from orchestrator.study.value import Value
from sweeps.decoding import note, title, tuned_table, with_ngram
from sweeps.hubert.options import Options
from sweeps.hubert.presets import Amount
from sweeps.hubert.rows import Student
from trainables.decoding.language import ArpaFile
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.finetune_ctc import FineTuneCtc

PUBLISHED = Path(__file__).parent.parent / "published"
NEAR = (
    Value("distilled/agreement", "Same unit", digits=3, unit="", better="larger"),
    Value("distilled/kl", "KL", digits=3, unit=""),
    Value("distilled/cosine", "Cosine", digits=3, unit="", better="larger"),
)
ALIKE = Value("similarity/mean", "Similarity", digits=3, unit="", better=None)
CEILING = Row("teacher", "teacher itself", {"start.kind": "pretrained"}, group="ceiling")


def table(
    number: str, found: Sequence[Student], amounts: Sequence[Amount], base: FineTuneCtc, options: Options
) -> Table:
    """A table with a row for each student, and for each amount a column decoded greedily and one with the n-gram.

    It is the latter that the paper has.
    """
    paper = options.preset == "paper"
    value = Value("test-clean/wer", counts="words") if paper else Value("test-clean/cer", counts="characters")
    assert base.ngram is not None
    columns = []
    for amount in amounts:
        plain = Column(f"{amount.name}_greedy", amount.heading, amount.where, value=value)
        columns.append(replace(plain, heading=f"{amount.heading}\ngreedy"))
        columns.append(replace(with_ngram(plain, value, base.ngram), name=amount.name))
    rows = [student.row() for student in found]
    if options.ceiling and number == "2":
        rows = [*(replace(row, group="students") for row in rows), CEILING]
    names = {"2": "structures and losses", "3": "front-ends", "5": "with and without L_frontend"}
    own = number in names
    return Table(
        f"table{number}" if own else number,
        f"{f'Table {number} of Wang, Tang et al.: {names[number]}' if own else 'Controls of D&T'}, {value.title} (%)",
        rows,
        columns,
        value,
        Published.read(PUBLISHED / f"hubert_distillation_table{number}.csv") if paper and own else Published(),
        base.corpus.release(),
        compared="rows",
        baseline="dt_00" if number == "2" else found[0].name,
        reasons=_reasons(base) if paper and own else [],
        notes=_notes(base, options),
    )


def weights(table: Table, amounts: Sequence[Amount], base: FineTuneCtc) -> Table:
    """What was chosen for the n-gram in each cell of a table."""
    assert base.ngram is not None
    return tuned_table(table, [Column(amount.name, amount.heading, amount.where) for amount in amounts], base.ngram)


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


def similarity(found: Sequence[Student], amounts: Sequence[Amount], base: FineTuneCtc) -> tuple[Table, Profile]:
    """Figure 3, of the students of Table 2 that are deep and thin, and the means over its layers as a table."""
    start, deep = base.start, [student for student in found if student.fields["student"]["kind"] == "deep_thin"]
    assert isinstance(start, DistilHubert)
    test, clips = base.tests[0], base.similarity.clips
    table = Table(
        "similarity",
        "Similarity of hidden states before and after fine-tuning, mean over layers",
        [student.row() for student in deep],
        [Column(amount.name, amount.heading, amount.where) for amount in amounts],
        ALIKE,
        data=base.corpus.release(),
        compared="rows",
        notes=[
            f"PWCCA of the students before and after, over the frames of {clips} clips of {test}, or of all that it "
            "has; weighted by the student before fine-tuning, so that the measure is not symmetric.",
            "The paper draws a CCA similarity (Figure 3), does not say which, and gives no numbers.",
        ],
    )
    layers = [
        (float(n), replace(ALIKE, name=name)) for n, name in enumerate(base.similarity.reports(start.student.layers))
    ]
    caption = "Figure 3: similarity by layer before and after fine-tuning, PWCCA weighted by the student before."
    return table, Profile("figure3", caption, table.name, layers[:-1], "layer", "similarity (PWCCA)")


def _reasons(base: FineTuneCtc) -> list[str]:
    """Why the paper's preset is not comparable with the paper."""
    start = base.start
    assert isinstance(start, DistilHubert)
    assert base.ngram is not None
    reasons = []
    if not isinstance(base.ngram.language, ArpaFile):
        reasons.append(f"The {title(base.ngram)} is of transcripts; the paper's is of LibriSpeech's books (`--lm`).")
    if start.teacher.own_units() is None:
        reasons.append("Hidden units are clusters of the teacher's last states; the paper's are HuBERT's own.")
    return reasons


def _notes(base: FineTuneCtc, options: Options) -> list[str]:
    start = base.start
    assert isinstance(start, DistilHubert)
    units = "its own" if start.teacher.own_units() else f"{start.clusters.count} clusters of its last states"
    assert base.ngram is not None
    notes = [
        f"Teacher {Path(start.teacher.name).name}, whose hidden units are {units}; λ stands as λ_reg, λ_disc, and 0, 0 "
        "is not distilled.",
        note(base.ngram),
    ]
    if options.ceiling:
        notes.append(
            "The teacher itself is fine-tuned as its students are"
            f"{'.' if start.teacher.standardised else ', but on standardised waveforms, unlike those before.'}"
        )
    if options.preset == "mini":
        notes.append(
            "The miniature's teacher has learned from transcripts, as HuBERT has not, and its speech is of games, much "
            "of it with nothing above 5 kHz."
        )
    return notes
