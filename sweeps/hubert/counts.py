"""Table 1 of Wang, Tang et al.: the structures of the students and their parameters, counted without any weights.

`python -m sweeps.hubert.counts [--to FOLDER]` prints it, and writes it as Markdown, LaTeX, CSV and HTML.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console

from orchestrator.arguments import parse
from orchestrator.printing import escape_output
from orchestrator.redaction import first_line
from orchestrator.results.rendering import FORMS
from orchestrator.results.rendering.terminal import show
from orchestrator.results.sheet import Entry, Line, Sheet, SheetRow
from orchestrator.study.storage import Storage
from orchestrator.study.table import Published
from orchestrator.study.value import Value
from sweeps.hubert.tables import PUBLISHED
from trainables.students.counting import as_published, deployed
from trainables.students.distilled import DeepThin, DistilledStudent, FilterBanks, ShallowWide

STUDENTS: Mapping[str, DistilledStudent] = {
    "sw_waveform": ShallowWide(),
    "sw_fbank": ShallowWide(front_end=FilterBanks()),
    "dt_waveform": DeepThin(),
    "dt_fbank": DeepThin(front_end=FilterBanks()),
}
COLUMNS = {
    "parameters": Value("parameters", "M parameters", unit="M", better=None),
    "deployed": Value("deployed", "M deployed", unit="M", better=None),
    "attention": Value("attention", unit="", digits=0, better=None),
    "feed_forward": Value("feed_forward", "FFN", unit="", digits=0, better=None),
    "layers": Value("layers", unit="", digits=0, better=None),
}
NOT_GIVEN = "sw_fbank"
REASON = (
    "19.81 M is not what the released front-end on filter banks gives at a width of 768, which is 20.26 M; it is "
    "23.64 M less the 3.83 M that filter banks save the D&T student."
)
NOTES = (
    "M parameters: as the paper counts them, with HuBERT's 504 label embeddings and a CTC head of 32 letters, and "
    "without the layer norm behind the convolutions and the mask's embedding.",
    "M deployed: what takes part in recognition, without label embeddings and with that layer norm.",
)


def counted(student: DistilledStudent) -> dict[str, float]:
    """The entries of a student's line, counted from its model; parameters in millions."""
    with torch.device("meta"):
        encoder: Any = student.build()
        return {
            "parameters": as_published(encoder) / 1e6,
            "deployed": deployed(encoder) / 1e6,
            "attention": encoder.width,
            "feed_forward": encoder.layers[0].feed_forward.intermediate_dense.out_features,
            "layers": len(encoder.layers),
        }


def sheet() -> Sheet:
    """Table 1, ours beside the paper's."""
    published = Published.read(PUBLISHED / "hubert_distillation_table1.csv")
    rows = []
    for name, student in STUDENTS.items():
        ours = [_entry(value, counted(student)[column]) for column, value in COLUMNS.items()]
        paper = [_entry(value, published.number(name, column)) for column, value in COLUMNS.items()]
        (count, *_), (theirs, *others) = ours, paper
        assert count.value is not None
        assert theirs.value is not None
        beside = replace(theirs, beside=count.value - theirs.value), *others
        comparable = "no: a" if name == NOT_GIVEN else "yes"
        lines = Line("ours", tuple(ours)), Line("paper", beside, comparable)
        rows.append(SheetRow(name, str(published.fact(name, "student")), "", (), lines))
    return Sheet(
        "table1",
        "Table 1 of Wang, Tang et al.: structures of students",
        tuple(COLUMNS),
        tuple(value.title for value in COLUMNS.values()),
        tuple(rows),
        NOTES,
        (REASON,),
        "",
    )


def _entry(value: Value, number: float | None) -> Entry:
    return Entry(number if value.digits or number is None else int(number), shows=value, digits=value.digits)


def tell(to: str | None = None) -> None:
    """Count the parameters of the students and print Table 1, with the paper's figures.

    Args:
        to: Folder or URL to write the table to as well, in four forms.
    """
    made = sheet()
    if to is not None:
        for ending, form in FORMS.items():
            Storage.at(to).write(f"{made.name}.{ending}", form(made))
    show(made, Console(highlight=False, markup=False, emoji=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print. Returns the exit code: 0, or 2 where the table cannot be written."""
    escape_output()
    try:
        parse(tell, arguments, prog="python -m sweeps.hubert.counts")
    except (ValueError, OSError) as error:
        print(first_line(error), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
