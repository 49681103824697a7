"""Any data set in one of the layouts of Hugging Face `datasets`, read from a folder and never from a hub.

    saved/dataset_dict.json  train/data-00000-of-00001.arrow  validation/…    what `save_to_disk` wrote, or one split
    folder/data/train-00000-of-00002.parquet  …  test-00000-of-00001.parquet  or one parquet file, whose split is train
    folder/train/metadata.csv  clip.wav  …  test/…                            an audiofolder; or metadata.jsonl

`datasets` finds the splits and their files. Rows are then taken as they are stored, an Arrow batch at a time: the audio
column holds sound files, as bytes or by path, or both in one structure, and is decoded by `audio.decode` as that of any
corpus is. (`datasets` itself would decode with torchcodec, which needs FFmpeg.)
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pyarrow import parquet
from typing_extensions import override

from trainables.batch import Rejected, Utterance
from trainables.cache import cache_folder
from trainables.config import Folder, Where
from trainables.corpora.base import SpeechCorpus

SPLITS = {"train": "train", "valid": "validation", "test": "test"}
ROWS = 64
"""Rows that are read at once."""


class HFDataset(SpeechCorpus):
    """A folder that `datasets` reads, with a column of sound files and one of transcripts."""

    kind: Literal["hf_dataset"] = "hf_dataset"
    root: Folder
    """The folder, or one parquet file."""
    split_names: Mapping[str, str] = SPLITS
    """The corpus's splits, each with its name in the folder."""
    audio: str = "audio"
    """Column of sound files."""
    text: str | None = "text"
    """Column of transcripts; None for audio alone."""
    speaker: str | None = None
    """Column of speakers, names or numbers."""
    id: str | None = None
    """Column of names for the utterances; by default they are named by split and row."""
    labels: tuple[str, ...] = ()
    """Columns of labels: each is a slot."""
    title: Annotated[str, Where()] = ""
    """The name of this data in tables; by default that of the folder."""
    terms: Annotated[str, Where()] = "unknown"
    """The licence of the recordings."""

    @property
    @override
    def splits(self) -> tuple[str, ...]:
        return tuple(self.split_names)

    @property
    @override
    def slots(self) -> tuple[str, ...]:
        return self.labels

    @override
    def release(self) -> str:
        return self.title or os.path.basename(self.root)

    @override
    def licence(self) -> str:
        return self.terms

    @override
    def fingerprint(self) -> str:
        """Digest, split by split, of the data files' names and sizes and of all that the columns in use hold but audio.

        A sound that is replaced by one of the same size in the same file is not seen: audio is not read for this.
        """
        files = [file for split in self.splits for file in self._part(split).files]
        with _reading(self.root):
            changed = tuple(os.stat(file).st_mtime_ns for file in files)
        return _fingerprint(self.model_dump_json(), changed)

    @override
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        """The rows of a split; one without a sound file comes as `Rejected`.

        Raises ValueError when the data cannot be read, or lacks the split or a column.
        """
        folder = self.root if os.path.isdir(self.root) else os.path.dirname(self.root)
        for number, row in enumerate(self.rows(split, [self.audio, *self.described()])):
            name = (row[self.id] if self.id else None) or f"{split}_{number:06d}"
            if (audio := _sound(row[self.audio], folder)) is None:
                yield Rejected(name, "missing clip", f"row {number} of {split} has no sound")
                continue
            labels = {slot: value for slot in self.labels if (value := row[slot]) is not None}
            speaker = row[self.speaker] if self.speaker else None
            yield Utterance(name, audio, row[self.text] if self.text else None, speaker or "", labels)

    def described(self) -> list[str]:
        """The columns in use besides audio, each once."""
        return list(dict.fromkeys(name for name in (self.text, self.speaker, self.id, *self.labels) if name))

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some columns of the rows of a split, all values but sounds as text or None.

        Raises ValueError when the data cannot be read, or lacks the split or a column.
        """
        part = self._part(split)
        with _reading(self.root):
            for table in part.read(columns):
                for row in table.to_pylist():
                    yield {name: value if name == self.audio else part.text(name, value) for name, value in row.items()}

    def _part(self, split: str) -> "_Part":
        parts, name = _parts(self.root), self.split_names[split]
        if name not in parts:
            raise ValueError(f"The splits of {self.root} must include {name!r}, but are {', '.join(parts)} instead.")
        part = parts[name]
        if missing := [repr(column) for column in (self.audio, *self.described()) if column not in part.features]:
            there = ", ".join(map(repr, part.features))
            raise ValueError(f"The columns of {self.root} must include {', '.join(missing)}, but are {there} instead.")
        return part


@cache
def _fingerprint(fields: str, changed: tuple[int, ...]) -> str:
    """The fingerprint, remembered: a hundred trials ask. `changed` are the times of the files' last changes."""
    corpus, found = HFDataset.model_validate_json(fields), hashlib.sha256()
    for split in corpus.splits:
        for file in _parts(corpus.root)[corpus.split_names[split]].files:
            found.update(f"{os.path.relpath(file, corpus.root)}:{os.stat(file).st_size}\n".encode())
        if columns := corpus.described():
            for row in corpus.rows(split, columns):
                found.update(json.dumps([row[name] for name in columns]).encode() + b"\n")
    return found.hexdigest()[:16]


@dataclass(frozen=True)
class _Part:
    """One split as it is stored."""

    files: Sequence[str]
    features: Mapping[str, Any]
    """Features of `datasets`, by column."""
    read: Callable[[Sequence[str]], Iterator[pa.Table]]
    """Reads some columns, some rows at a time."""

    def text(self, column: str, value: Any) -> str | None:
        """A value as text; the number of a class as the name of the class."""
        names = getattr(self.features[column], "names", None)
        if value is None or (names and value == -1):  # which stands for no class
            return None
        return str(names[value] if names else value)


def _parts(root: str) -> dict[str, _Part]:
    """The splits that lie in a folder. Raises ValueError when there are none that `datasets` can read."""
    if not os.path.exists(root):  # `datasets` would take it for a name on the hub
        raise ValueError(f"The data must be a folder or a parquet file, but {root} does not exist.")
    return _found(root, os.stat(root).st_mtime_ns)


@cache
def _found(root: str, changed: int) -> dict[str, _Part]:
    """The splits, remembered as the fingerprint is; `changed` is the time of the folder's last change."""
    import datasets  # takes a second, which nobody else should wait for

    with _reading(root):
        if any(os.path.isfile(os.path.join(root, name)) for name in ("dataset_dict.json", "state.json")):
            found = datasets.load_from_disk(root)
            return _saved(found if isinstance(found, datasets.DatasetDict) else {found.split or "train": found})
        path, files = ("parquet", root) if os.path.isfile(root) else (root, None)
        locks = str(cache_folder() / "datasets")
        return _streamed(datasets.load_dataset_builder(path, data_files=files, cache_dir=locks))


def _saved(splits: Mapping[Any, Any]) -> dict[str, _Part]:
    """The splits that `save_to_disk` wrote."""
    parts = {}
    for name, dataset in splits.items():
        files = [file["filename"] for file in dataset.cache_files]
        parts[str(name)] = _Part(files, dataset.features, partial(_batches, dataset))
    return parts


def _streamed(builder: Any) -> dict[str, _Part]:
    """The splits of a folder of other files, as they are read without a copy in the cache of `datasets`."""
    import datasets

    parts = {}
    for name, files in (builder.config.data_files or {}).items():
        if all(file.endswith(".parquet") for file in files):
            features = datasets.Features.from_arrow_schema(parquet.read_schema(files[0]))
            parts[str(name)] = _Part(files, features, partial(_parquet, files))
        else:
            dataset = builder.as_streaming_dataset(str(name))
            parts[str(name)] = _Part(files, dataset.features or {}, partial(_batches, dataset))
    return parts


def _batches(dataset: Any, columns: Sequence[str]) -> Iterator[pa.Table]:
    return dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=ROWS)


def _parquet(files: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Reads no other columns; `datasets` would read them all and drop them then."""
    for file in files:
        for batch in parquet.ParquetFile(file).iter_batches(ROWS, columns=list(columns)):
            yield pa.Table.from_batches([batch])


def _sound(value: Any, folder: str) -> Path | bytes | None:
    """A sound file as it stands in a row: its bytes, or the path from the folder. None where there is neither."""
    found: Any = value
    if isinstance(value, dict) and "path" in value:
        found = value.get("bytes") or value["path"]
    if found is None or isinstance(found, bytes):
        return found
    if isinstance(found, str):
        return Path(folder, found)
    kind = type(found).__name__
    raise ValueError(f"The sounds of {folder} must be files, as bytes or by path, but one is a {kind} instead.")


@contextmanager
def _reading(root: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a library makes of what lies there
        why = " ".join(str(error).split())
        raise ValueError(f"{root} must be data that `datasets` can read, but is not: {why}") from error
