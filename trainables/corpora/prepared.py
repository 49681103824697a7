"""A split on disk, ready to train from: 16-bit waveforms, normalised texts and labels in one memory-mapped Arrow file.

A prepared split is addressed by the hash of what made it. Its manifest is written last and holds the
checksum of the data.

Quarantine: no clip of a corpus ends a preparation, and none is left out silently. Whatever cannot be used, a row that
is malformed, a file that does not decode, a text of which normalisation leaves nothing, a clip that a filter of the
recipe refuses, is listed in `quarantine.jsonl` with a reason; the reasons are counted in the manifest, told to the
person who waits, and shown in the report. Only a split of which nothing is left is an error.
"""

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute
from pydantic import Field, model_validator
from typing_extensions import override

from trainables.batch import Rejected, Utterance
from trainables.cache import building, cache_folder, sha256_of, write_atomically
from trainables.config import Preparation, Since
from trainables.corpora.audio import SAMPLE_RATE, UnusableAudio, decode
from trainables.corpora.corpus import Corpus
from trainables.corpora.filters import Filter, RoomForCTC
from trainables.corpora.text import Letters, Normaliser

T = TypeVar("T")
SCHEMA = pa.schema([
    ("id", pa.string()), ("text", pa.string()), ("speaker", pa.string()), ("audio", pa.large_binary()),
])  # fmt: skip
"""Columns of a split that is not labelled. `text` is null where the corpus has no transcript."""
LABEL = "label:"
"""Before the name of a slot in the name of its column, a string or null for each utterance."""


class SplitPreparation(Preparation):
    """Decode, resample, normalise and check one split of a corpus."""

    format: ClassVar[int] = 3
    corpus: Corpus
    split: str
    """One of the corpus's own."""
    normaliser: Normaliser = Letters()
    """Of transcripts, where the corpus has any."""
    longest: Annotated[float, Field(gt=0)]
    """Seconds; longer clips are quarantined."""
    filters: Annotated[tuple[Filter, ...], Since(before=(RoomForCTC(),))] = ()
    """Needs of the recipe's loss; clips that any of them refuses are quarantined."""

    @model_validator(mode="after")
    def _one_of_its_splits(self) -> Self:
        if self.split not in self.corpus.splits:
            splits = ", ".join(self.corpus.splits)
            raise ValueError(f"`split` must be one of the corpus's, {splits}, but is {self.split!r} instead.")
        return self

    def __str__(self) -> str:
        return f"{self.corpus} {self.split}"

    def folder(self) -> Path:
        """The place of the prepared split, whether it is there or not."""
        return cache_folder() / "prepared" / self.signature()

    @override
    def build(self) -> Path:
        """The folder of the prepared split, made if it is not there.

        Raises ValueError when no utterance is left, or when what is there is damaged.
        """
        with building(self.folder()) as folder:
            if folder is not None:
                self._write(folder)
        PreparedSplit(self.folder()).verify()
        return self.folder()

    @override
    def summary(self) -> str:
        manifest = PreparedSplit(self.folder()).manifest
        line = f"{manifest['utterances']} utterances, {manifest['seconds'] / 3600:.2f} h"
        if rejected := manifest["quarantined"]:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in rejected.items())
            line += f"; quarantined: {reasons} (listed in {self.folder() / 'quarantine.jsonl'})"
        return line

    def _write(self, folder: Path) -> None:
        seconds, kept, rejected = 0.0, 0, []
        characters, deleted = 0, Counter[str]()
        schema = pa.schema([*SCHEMA, *(pa.field(f"{LABEL}{slot}", pa.string()) for slot in self.corpus.slots)])
        with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for items in _windows(self._clips(), 64):
                clips = [item for item in items if isinstance(item, _Clip)]
                rejected += [item for item in items if isinstance(item, Rejected)]
                seconds += sum(len(clip.audio) for clip in clips) / 2 / SAMPLE_RATE
                kept += len(clips)
                characters += sum(len(clip.text or "") + len(clip.deleted) for clip in clips)
                deleted.update(c for clip in clips for c in clip.deleted)
                if clips:
                    columns = [[getattr(clip, name) for clip in clips] for name in SCHEMA.names]
                    columns += [[clip.labels.get(slot) for clip in clips] for slot in self.corpus.slots]
                    writer.write_batch(pa.record_batch(columns, schema=schema))
        write_quarantine(folder / "quarantine.jsonl", rejected)
        reasons = Counter(item.reason for item in rejected)
        if not kept:
            raise ValueError(f"{self} must have at least one usable clip, but has none: {dict(reasons)}.")
        manifest = {
            "identity": self.identity(), "release": self.corpus.release(),
            "utterances": kept, "seconds": seconds, "quarantined": dict(reasons.most_common()),
            "characters": characters, "deleted": _by_category(deleted),
            "sha256": sha256_of(folder / "data.arrow"), "bytes": (folder / "data.arrow").stat().st_size,
        }  # fmt: skip
        write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))

    def _clips(self) -> Iterator["_Clip | Rejected"]:
        # libsndfile and soxr release the interpreter's lock, so threads keep all cores decoding; a window
        # bounds what waits in memory.
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for window in _windows(self.corpus.utterances(self.split), 256):
                yield from pool.map(self._clip, window)

    def _clip(self, utterance: Utterance | Rejected) -> "_Clip | Rejected":
        if isinstance(utterance, Rejected):
            return utterance
        text, deleted = None, ""
        if utterance.text is not None:
            text, deleted = self.normaliser(utterance.text), self.normaliser.deleted(utterance.text)
            if not text:
                return Rejected(utterance.id, "empty transcript", f"{utterance.text!r} has no letters left")
        if unknown := utterance.labels.keys() - {*self.corpus.slots}:
            slots, others = ", ".join(self.corpus.slots) or "none", ", ".join(sorted(unknown))
            raise ValueError(f"Labels must be in the corpus's slots, {slots}, but {utterance.id!r} has {others}.")
        try:
            audio = decode(utterance.audio, longest=self.longest)
        except UnusableAudio as error:
            return Rejected(utterance.id, error.reason, error.detail)
        for chosen in self.filters:
            if refusal := chosen.refuse(text, len(audio)):
                return Rejected(utterance.id, *refusal)
        return _Clip(utterance.id, text, utterance.speaker, audio.tobytes(), deleted, utterance.labels)


def write_quarantine(path: Path, rejected: Iterable[Rejected]) -> None:
    """Write what cannot be used as JSON, one object with `id`, `reason` and `detail` per line."""
    lines = [json.dumps(item._asdict(), ensure_ascii=False) + "\n" for item in rejected]
    path.write_text("".join(lines), encoding="utf-8")


def _windows(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    iterator = iter(items)
    while window := tuple(islice(iterator, size)):
        yield window


class _Clip(NamedTuple):
    """A row of the Arrow file, and what normalising its text took away."""

    id: str
    text: str | None
    speaker: str
    audio: bytes
    deleted: str
    labels: Mapping[str, str]


def _by_category(deleted: Counter[str]) -> dict[str, dict[str, int]]:
    """Counts of characters by the first letter of their general category in Unicode, the most frequent first."""
    order = sorted(deleted.items(), key=lambda item: (-item[1], item[0]))
    found: dict[str, dict[str, int]] = {}
    for character, count in order:
        found.setdefault(unicodedata.category(character)[0], {})[character] = count
    return found


@dataclass(frozen=True)
class PreparedSplit:
    """A prepared split as memory-mapped columns; nothing is read before it is asked for."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Identity of the preparation, release of the corpus, counts, and the data's checksum."""
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))

    @cached_property
    def _table(self) -> pa.Table:
        path = self.folder / "data.arrow"
        if path.stat().st_size != self.manifest["bytes"]:
            raise ValueError(_damaged(path, f"has {path.stat().st_size} bytes"))
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()

    def verify(self) -> None:
        """Raises ValueError when the data is not what was written."""
        path = self.folder / "data.arrow"
        if (found := sha256_of(path)) != self.manifest["sha256"]:
            raise ValueError(_damaged(path, f"has SHA-256 {found}"))

    def __len__(self) -> int:
        return self._table.num_rows

    @cached_property
    def ids(self) -> list[str]:
        """The utterances' identifiers."""
        return self._table["id"].to_pylist()

    @cached_property
    def texts(self) -> list[str]:
        """The normalised transcripts; empty where the corpus has none, as no other one is."""
        return self._table["text"].fill_null("").to_pylist()

    @property
    def transcripts(self) -> list[str]:
        """The normalised transcripts, all there. Raises ValueError when the corpus has none of some utterance."""
        if missing := self.texts.count(""):
            raise ValueError(
                f"All utterances of {self.folder} must have transcripts, but {missing} of {len(self)} have none."
            )
        return self.texts

    @cached_property
    def speakers(self) -> list[str]:
        """The speakers of the utterances, as the corpus names them; empty where it does not."""
        return self._table["speaker"].to_pylist()

    @cached_property
    def labels(self) -> dict[str, list[str | None]]:
        """By slot, the label of each utterance; None where it has none in that slot."""
        slots = [name.removeprefix(LABEL) for name in self._table.column_names if name.startswith(LABEL)]
        return {slot: self._table[f"{LABEL}{slot}"].to_pylist() for slot in slots}

    @cached_property
    def samples(self) -> NDArray[np.int64]:
        """The clips' lengths at 16 kHz."""
        # From Arrow's offsets, in one pass: it finds a single row by walking over the chunks before it.
        return compute.call_function("binary_length", [self._table["audio"]]).to_numpy() // 2

    @cached_property
    def _audio(self) -> tuple[list[pa.Array], NDArray[np.int64]]:
        """The waveforms' chunks, and the row that each of them begins with."""
        chunks = self._table["audio"].chunks
        return chunks, np.cumsum([0, *map(len, chunks[:-1])])

    def audio(self, index: int) -> NDArray[np.int16]:
        """The waveform of one utterance: a view of the file."""
        chunks, begins = self._audio
        chunk = int(np.searchsorted(begins, index, side="right")) - 1
        return np.frombuffer(chunks[chunk][index - int(begins[chunk])].as_buffer(), np.int16)


def _damaged(path: Path, found: str) -> str:
    return f"{path} must be as its manifest says, but {found} instead; delete its folder to prepare it again."
