"""The costs of a corpus of a million utterances, before and after its clips are decoded.

The claims: at most 2 GB of memory for a manifest of 1 000 000 rows, and time that grows as the rows do: 10 times as
long for 10 times as many, at most 12 with what a machine adds to it.
The peer: 100 000 rows.
The floor: the texts and names themselves, about 0.2 GB, and 10 times.
A process of its own reads the release (digest, rows, normalised texts), and then a split as it lies there when it is
prepared, with waveforms of no length (texts, speakers, lengths, vocabulary, batches).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.material import HEADER, scratch, text
from benchmarks.ratios import Claim, Measurement, alternate, ratios

MEMORY = Claim(
    "memory for a manifest of 1 000 000 rows", "none", "texts and names, about 0.2 GB", target=2, better="at most",
    unit="GB",
)  # fmt: skip
TIME = Claim("time for it", "100 000 rows", "10 ×: linear", target=12, better="at most")


@dataclass(frozen=True)
class Size:
    """Rows of the two releases."""

    rows: int = 1_000_000
    fewer: int = 100_000


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure each release in processes of their own."""
    size = size or Size()
    found: dict[int, list[dict[str, float]]] = {size.rows: [], size.fewer: []}
    with scratch() as folder:

        def arm(rows: int) -> Callable[[], float]:
            made(folder / str(rows), rows)

            def run() -> float:
                command = [sys.executable, "-m", "benchmarks.manifest", str(folder / str(rows))]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[rows].append(json.loads(done.stdout))
                return found[rows][-1]["seconds"]

            return run

        costs = alternate({"rows": arm(size.rows), "fewer": arm(size.fewer)}, repeats, warm_up=False)
    note = f"{size}; {found}"
    return [
        Measurement(MEMORY, tuple(parts["gigabytes"] for parts in found[size.rows]), note),
        Measurement(TIME, ratios(costs["rows"], costs["fewer"]), note),
    ]


def made(folder: Path, rows: int) -> None:
    """Make a release of so many rows, its clips empty files, and a prepared split as it would lie there."""
    from trainables.corpora.prepared import SCHEMA

    random = np.random.default_rng(0)
    texts = [text(5, random) for _ in range(1000)]
    language = folder / "cs"
    (language / "clips").mkdir(parents=True)
    names = [f"common_voice_cs_{20_000_000 + i}.mp3" for i in range(rows)]
    for name in names:
        os.mknod(language / "clips" / name)
    with (language / "train.tsv").open("w") as file:
        file.write(HEADER)
        for i, name in enumerate(names):
            file.write(f"{i % 20_000:0128x}\t{name}\t{texts[i % 1000]} {i}\t2\t0\t\t\t\tcs\t\n")
    for name in ("dev", "test"):
        (language / f"{name}.tsv").write_text(HEADER)
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for start in range(0, rows, 64):
            ids = [name.removesuffix(".mp3") for name in names[start : start + 64]]
            columns = {
                "id": ids,
                "text": [f"{texts[i % 1000]}" for i in range(len(ids))],
                "audio": [b"\0\0"] * len(ids),
            }
            columns["speaker"] = [f"{i % 20_000:0128x}" for i in range(start, start + len(ids))]
            writer.write_batch(pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA))
    size = (folder / "data.arrow").stat().st_size
    (folder / "manifest.json").write_text(json.dumps({"bytes": size, "utterances": rows}))


def read(folder: Path) -> dict[str, float]:
    """Seconds and most memory of all that is done with a manifest apart from decoding."""
    from trainables.corpora.batching import ByCount, global_batches
    from trainables.corpora.common_voice import CommonVoice
    from trainables.corpora.prepared import PreparedSplit
    from trainables.corpora.text import CharacterVocabulary, Letters

    clock = [time.process_time()]  # whatever else this machine does
    corpus, normaliser = CommonVoice(root=str(folder), language="cs"), Letters()
    corpus.fingerprint()
    clock.append(time.process_time())
    for row in corpus.utterances("train"):
        normaliser(row.text or "")  # pyright: ignore[reportAttributeAccessIssue] # no row is malformed
    clock.append(time.process_time())
    split = PreparedSplit(folder)
    columns = split.texts, split.ids, split.speakers, split.samples
    CharacterVocabulary.of(split.texts)
    for _ in islice(global_batches(split.samples / 1.0, ByCount(), 0), len(columns[0]) // 24):
        pass
    clock.append(time.process_time())
    parts = dict(zip(("digest", "rows", "split"), np.diff(clock).round(4).tolist(), strict=True))
    return {**parts, "seconds": clock[-1] - clock[0], "gigabytes": most_memory()}


def most_memory() -> float:
    """Most gigabytes that this process has had, files it maps not counted."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    print(json.dumps(read(Path(sys.argv[1]))))
