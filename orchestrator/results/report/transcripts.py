"""A trial's transcripts as a reader can see them: the worst utterances, the most changed ones, the confusions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jiwer

SHOWN = 5
"""Utterances of each kind in a cell: a report of a hundred cells stays below 5 MB."""
LONGEST = 300
"""Characters of a reference that are shown."""
CONFUSIONS = 10


class Piece(NamedTuple):
    """A stretch of an alignment: `kept` in both, `gone` from the reference, or `new` in the hypothesis."""

    kind: Literal["kept", "gone", "new"]
    text: str


@dataclass(frozen=True)
class Recognised:
    """One utterance, and how its reference and its hypothesis align."""

    id: str
    speaker: str
    """A pseudonym."""
    errors: int
    length: int
    """The reference's, in what the metric counts."""
    pieces: tuple[Piece, ...]
    before: "Recognised | None" = None
    """The same utterance as the baseline recognised it."""


class Confusion(NamedTuple):
    """A piece of the reference and what was recognised instead, and how often; empty for nothing."""

    reference: str
    hypothesis: str
    times: int


@dataclass(frozen=True)
class Transcripts:
    """A test set as one trial recognised it, and the errors of one metric in it."""

    rows: Sequence[Mapping[str, Any]]
    """Rows of the file that the trial kept (orchestrator/results/utterances.py), of this test set."""
    metric: str

    def worst(self) -> list[Recognised]:
        """The utterances of the highest error rates, of equals the longer ones."""

        def order(row: Mapping[str, Any]) -> tuple[float, int, str]:
            length = max(1, self.length(row))
            return -self.errors(row) / length, -length, row["id"]

        return [self.recognised(row) for row in sorted(self.rows, key=order)[:SHOWN] if self.errors(row)]

    def changed(self, baseline: "Transcripts") -> list[Recognised]:
        """The utterances whose number of errors is farthest from the baseline's, which stands beside them."""
        theirs = {(row["id"], row["reference"]): row for row in baseline.rows}
        pairs = [(row, theirs[key]) for row in self.rows if (key := (row["id"], row["reference"])) in theirs]
        pairs.sort(key=lambda pair: (-abs(self.errors(pair[0]) - self.errors(pair[1])), pair[0]["id"]))
        return [
            self.recognised(mine, before=baseline.recognised(other))
            for mine, other in pairs[:SHOWN]
            if self.errors(mine) != self.errors(other)
        ]

    def confusions(self) -> list[Confusion]:
        """The most frequent substitutions, deletions and insertions of characters.

        Where each utterance counts as one thing, such as a class, one is confused with another as a whole.
        """
        counts: Counter[tuple[str, str]] = Counter()
        for row in self.rows:
            if self.errors(row):
                pair = row["reference"], row["hypothesis"]
                counts.update([pair] if self.classes else _edits(*pair))
        order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [Confusion(*pair, count) for pair, count in order[:CONFUSIONS]]

    def recognised(self, row: Mapping[str, Any], before: Recognised | None = None) -> Recognised:
        """An utterance with its alignment; a class is right or wrong as a whole."""
        old, new = row["reference"], row["hypothesis"]
        wrong = self.classes and self.errors(row)
        aligned = [Piece("gone", old), Piece("kept", " "), Piece("new", new)] if wrong else align(old, new)
        pieces = tuple(shortened(aligned))
        speaker = f"speaker {1 + self._speakers[row['speaker']]}" if row["speaker"] else "speaker unknown"
        return Recognised(row["id"], speaker, self.errors(row), self.length(row), pieces, before)

    @property
    def classes(self) -> bool:
        """Whether each utterance counts as one thing."""
        return all(self.length(row) == 1 for row in self.rows)

    @property
    def metrics(self) -> set[str]:
        """All metrics that the errors are known of."""
        return {name.removesuffix("_errors") for row in self.rows[:1] for name in row if name.endswith("_errors")}

    def errors(self, row: Mapping[str, Any]) -> int:
        """The errors in an utterance."""
        return row[f"{self.metric}_errors"]

    def length(self, row: Mapping[str, Any]) -> int:
        """The length of an utterance's reference."""
        return row[f"{self.metric}_length"]

    @property
    def _speakers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(sorted({row["speaker"] or "" for row in self.rows}))}


def align(reference: str, hypothesis: str) -> list[Piece]:
    """The fewest edits from one to the other; of a substitution, what is gone comes first."""
    pieces: list[Piece] = []
    for chunk in jiwer.process_characters(reference, hypothesis).alignments[0]:
        old = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        new = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "equal":
            pieces.append(Piece("kept", old))
            continue
        pieces += [Piece("gone", old)] * bool(old) + [Piece("new", new)] * bool(new)
    return pieces


def shortened(pieces: Iterable[Piece]) -> Iterable[Piece]:
    """Their first `LONGEST` characters."""
    room = LONGEST
    for kind, text in pieces:
        if len(text) > room:
            yield Piece(kind, f"{text[:room]}…")
            return
        yield Piece(kind, text)
        room -= len(text)


def _edits(reference: str, hypothesis: str) -> Iterable[tuple[str, str]]:
    for chunk in jiwer.process_characters(reference, hypothesis).alignments[0]:
        old = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        new = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        match chunk.type:
            case "substitute":
                yield from zip(old, new, strict=True)
            case "delete":
                yield from ((character, "") for character in old)
            case "insert":
                yield from (("", character) for character in new)
