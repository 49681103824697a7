"""A split on disk, ready to train from: 16-bit waveforms and normalised texts in one memory-mapped Arrow file.

A prepared split is addressed by the hash of what made it. Its manifest is written last and holds the
checksum of the data; clips that cannot be used are listed with their reasons in `quarantine.jsonl`.
"""

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute
from pydantic import Field

from trainables.batch import Rejected, Utterance
from trainables.cache import building, cache_folder, sha256_of, write_atomically
from trainables.config import Preparation, digest
from trainables.corpora.audio import SAMPLE_RATE, UnusableAudio, decode
from trainables.corpora.common_voice import CommonVoice, Split
from trainables.corpora.text import Normaliser

T = TypeVar("T")
FORMAT = 2
TOO_LONG = "transcript too long"
FRAME = 320
"""Samples from one frame to the next, 20 ms, of nearly all speech encoders (wav2vec 2.0 §2, Whisper §2.2)."""
SCHEMA = pa.schema([
    ("id", pa.string()), ("text", pa.string()), ("speaker", pa.string()), ("audio", pa.large_binary()),
])  # fmt: skip


class SplitPreparation(Preparation):
    """Decode, resample, normalise and check one split of a corpus."""

    corpus: CommonVoice
    split: Split
    normaliser: Normaliser
    longest: Annotated[float, Field(gt=0)]
    """Seconds; longer clips are quarantined."""

    def __str__(self) -> str:
        return f"{self.corpus.language} {self.split}"

    def folder(self) -> Path:
        """Where the prepared split lies, or will lie."""
        return cache_folder() / "prepared" / digest({"format": FORMAT, **self.identity()})

    def build(self) -> Path:
        """The folder of the prepared split, made if it is not there.

        Raises ValueError when no utterance is left, or when what is there is damaged.
        """
        with building(self.folder()) as folder:
            if folder is not None:
                self._write(folder)
        PreparedSplit(self.folder()).verify()
        return self.folder()

    def summary(self) -> str:
        """One line on what was prepared, for the person who waits."""
        manifest = PreparedSplit(self.folder()).manifest
        line = f"{manifest['utterances']} utterances, {manifest['seconds'] / 3600:.2f} h"
        if rejected := manifest["quarantined"]:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in rejected.items())
            line += f"; quarantined: {reasons} (listed in {self.folder() / 'quarantine.jsonl'})"
        return line

    def _write(self, folder: Path) -> None:
        seconds, kept, rejected = 0.0, 0, []
        characters, deleted = 0, Counter[str]()
        with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for items in _windows(self._clips(), 64):
                clips = [item for item in items if isinstance(item, _Clip)]
                rejected += [item for item in items if isinstance(item, Rejected)]
                seconds += sum(len(clip.audio) for clip in clips) / 2 / SAMPLE_RATE
                kept += len(clips)
                characters += sum(len(clip.text) + len(clip.deleted) for clip in clips)
                deleted.update(c for clip in clips for c in clip.deleted)
                if clips:
                    columns = [[getattr(clip, name) for clip in clips] for name in SCHEMA.names]
                    writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
        write_quarantine(folder / "quarantine.jsonl", rejected)
        reasons = Counter(item.reason for item in rejected)
        if not kept:
            raise ValueError(f"{self} must have at least one usable clip, but has none: {dict(reasons)}.")
        manifest = {
            "format": FORMAT, "identity": self.identity(), "release": self.corpus.release(),
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
        text = self.normaliser(utterance.text)
        if not text:
            return Rejected(utterance.id, "empty transcript", f"{utterance.text!r} has no letters left")
        try:
            audio = decode(utterance.audio, longest=self.longest)
        except UnusableAudio as error:
            return Rejected(utterance.id, error.reason, error.detail)
        frames, needed = frames_of(len(audio)), frames_needed(text)
        if frames < needed:
            return Rejected(utterance.id, TOO_LONG, f"needs {needed} frames, the clip has {frames}")
        return _Clip(utterance.id, text, utterance.speaker, audio.tobytes(), self.normaliser.deleted(utterance.text))


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
    text: str
    speaker: str
    audio: bytes
    deleted: str


def _by_category(deleted: Counter[str]) -> dict[str, dict[str, int]]:
    """Counts of characters by the first letter of their general category in Unicode, the most frequent first."""
    order = sorted(deleted.items(), key=lambda item: (-item[1], item[0]))
    found: dict[str, dict[str, int]] = {}
    for character, count in order:
        found.setdefault(unicodedata.category(character)[0], {})[character] = count
    return found


def frames_of(samples: int) -> int:
    """Frames that w2v-BERT gives, pairs of 10 ms under windows of 25 ms: the fewest of those with one every 20 ms.

    A clip with room for its transcript in these has room in those of all such students, who share the preparation.
    """
    return max(0, (samples - 400) // (FRAME // 2) + 1) // 2


def frames_needed(tokens: Sequence[Any]) -> int:
    """The fewest frames that CTC can emit tokens in, one each, and a blank between two that are alike."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))


@dataclass(frozen=True)
class PreparedSplit:
    """A prepared split as memory-mapped columns; nothing is read before it is asked for."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was prepared, from what, and its checksum."""
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
        """The normalised transcripts."""
        return self._table["text"].to_pylist()

    @cached_property
    def speakers(self) -> list[str]:
        """Who speaks them, as the corpus names them."""
        return self._table["speaker"].to_pylist()

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
