"""What sweeps over recognisers have in common where they decode with a language model too: `--lm` and `--lexicon`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.study.table import Column, Head, Published, Table
from orchestrator.study.value import Value
from trainables.decoding.language import ArpaFile, FromCorpus
from trainables.decoding.with_ngram import NgramDecoding, of_file
from trainables.language import arpa
from trainables.recipes.recognition import NGRAM, TUNED

TRANSCRIPTS = "transcripts"


def ngram(lm: str | None, lexicon: Path | None = None) -> NgramDecoding | None:
    """The decoding with a language model that is asked for: of the training transcripts, or of an ARPA file.

    Raises ValueError where a file cannot be used, or what reads large ones is not installed.
    """
    if lm in (None, TRANSCRIPTS) and lexicon is not None:
        raise ValueError(f"`lexicon` is of the words of an ARPA file, which `lm` must name, but `lm` is {lm} instead.")
    if lm is None:
        return None
    return NgramDecoding() if lm == TRANSCRIPTS else of_file(lm, lexicon)


def title(decoding: NgramDecoding) -> str:
    """The language model's name in a table, such as 4-gram."""
    source = decoding.language
    order = len(arpa.counts(Path(source.file))) if isinstance(source, ArpaFile) else source.order
    return f"{order}-gram"


def with_ngram(column: Column, value: Value, decoding: NgramDecoding) -> Column:
    """The column of the same trials, decoded with the n-gram, of the same test set and metric."""
    return replace(column, heading=f"{column.heading}\n{title(decoding)}", value=_decoded(value, decoding))


def decoded_table(table: Table, decoding: NgramDecoding) -> Table:
    """The same table of the same trials, decoded with the n-gram, of a paper that decodes greedily."""
    return replace(
        table,
        name=f"{table.name}_ngram",
        title=f"{table.title}, decoded with a {title(decoding)}",
        value=_decoded(table.value, decoding),
        reasons=[*table.reasons, f"Decoding: with a {title(decoding)}; the paper's is greedy."],
        notes=[*table.notes, note(decoding)],
    )


def tuned_table(table: Table, columns: Sequence[Column], decoding: NgramDecoding) -> Table:
    """What was chosen on validation for the cells of a table: for each of its columns the weight and the word score."""
    names = (TUNED[0], "weight"), (TUNED[1], "words")
    return replace(
        table,
        name=f"{table.name}_tuned",
        title=f"Weight and word score of the {title(decoding)}, chosen on the validation split",
        columns=[
            replace(column, name=f"{column.name}_{heading}", heading=f"{column.title}\n{heading}", value=_plain(name))
            for column in columns
            for name, heading in names
        ],
        value=_plain(TUNED[0]),
        published=Published(),
        baseline=None,
        contrasts=(),
        reasons=[],
        head=Head(),
        notes=[note(decoding), "The weight is of natural logarithms: fairseq's and flashlight's 2 is 0.87 here."],
    )


def note(decoding: NgramDecoding) -> str:
    """A sentence for below a table on where the language model comes from."""
    match decoding.language:
        case ArpaFile(file=file):
            of = Path(file).name
        case FromCorpus(corpus=corpus):
            of = f"all training transcripts of {corpus}"
        case _:
            of = "the transcripts of the training split"
    return f"The {title(decoding)} is of {of}; its weight and word score are chosen on the validation split alone."


def _decoded(value: Value, decoding: NgramDecoding) -> Value:
    return replace(value, name=f"{value.set}/{NGRAM}{value.metric}", label=f"{value.title}, {title(decoding)}")


def _plain(name: str) -> Value:
    return Value(name, name.rpartition("/")[2].replace("_", " "), unit="", better=None)
