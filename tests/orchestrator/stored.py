"""A stored study as 100 trials of the paper would leave it, of made-up utterances: no recipe, no training."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict

import jiwer
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from orchestrator.study.layout import Layout
from orchestrator.study.ledger import FORMAT, Attempt, History, Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Submission
from orchestrator.study.sweep import StoredTrial
from sweeps.commonvoice20 import LANGUAGES, Options, layout

UTTERANCES = pa.schema([
    ("id", pa.string()), ("speaker", pa.string()), ("reference", pa.string()), ("hypothesis", pa.string()),
    ("seconds", pa.float64()), ("frames", pa.int32()), ("nonblank_frames", pa.int32()),
    *((f"{unit}_{e}", pa.int32()) for unit in ("char", "word") for e in ("substitutions", "deletions", "insertions")),
])  # fmt: skip
"""Columns that trials kept before they had test sets and metrics of their own."""
ALPHABETS = {
    "ja": "あいうえおかきくけこさしすせそ", "th": "กขคงจฉชซญฎ", "el": "αβγδεζηθικλμ", "ta": "அஆஇஈகஙசஞடண",
    "uk": "абвгґдеєжзиії", "ar": "ابتثجحخدذرز", "ka": "აბგდევზთიკლ",
}  # fmt: skip
CELLS = [("scratch", 0.0), ("pretrained", 0.0), ("pretrained", 0.25), ("pretrained", 0.5), ("pretrained", 1.0)]
QUALITY = {0.0: 0.12, 0.25: 0.115, 0.5: 0.10, 1.0: 0.09}
"""Share of characters that go wrong, by λ."""
REASONS = ("Data: made up.", "Models: none at all.")
EDITS = ("substitutions", "deletions", "insertions")


def fields(language: str, kind: str, weight: float, seed: int) -> dict[str, object]:
    """Of a recipe."""
    return {
        "corpus": {"kind": "common_voice", "root": "release", "language": language},
        "student": {"kind": "ctc", "encoder": {"kind": kind, "model": "student"}},
        "weight": weight,
        "optimisation": {"steps": 400, "learning_rate": 3e-4},
        "seed": seed,
    }


def store(
    storage: Storage,
    languages: Sequence[str] = LANGUAGES,
    seeds: Sequence[int] = (1,),
    utterances: int = 24,
    tables: Layout | None = None,
    notes: Sequence[str] = ("Seeds: 1.",),
) -> Ledger:
    """Write the ledger of a finished study."""
    ledger = Ledger(storage)
    storage.write("study.json", json.dumps({"format": FORMAT, "name": "stored", "common": {}}))
    trials = []
    for language in languages:
        spoken = references(language, utterances)
        for kind, weight in CELLS:
            for seed in seeds:
                signature = f"{zlib.crc32(f'{language} {kind} {weight} {seed}'.encode()):012x}"
                label = f"{language}, {'scratch' if kind == 'scratch' else f'λ = {weight:g}'}, seed {seed}"
                description = {"type": "a:Recipe", "label": label, "fields": fields(language, kind, weight, seed)}
                trials.append(StoredTrial.of(signature, description))
                ledger.trial(signature).write("recipe.json", json.dumps(description))
                keep(ledger, signature, spoken, 0.6 if kind == "scratch" else QUALITY[weight], seed)
    laid_out = tables or layout(Options(), "made-up speech", REASONS, notes)
    command = "python sweeps/commonvoice20.py --data release"
    Submission("stored", laid_out, command, tuple(trials)).write(storage)
    return ledger


def references(language: str, count: int) -> list[str]:
    """Made-up sentences."""
    random = np.random.default_rng(zlib.crc32(language.encode()))
    letters = list(ALPHABETS.get(language, "abcdeěfghiíjklmnoprsštuvyz"))
    words = ["".join(random.choice(letters, random.integers(2, 8))) for _ in range(40)]
    return [" ".join(random.choice(words, random.integers(3, 9))) for _ in range(count)]


def keep(ledger: Ledger, signature: str, spoken: Sequence[str], wrong: float, seed: int) -> None:
    """What a finished trial leaves: its transcripts, its history and its result."""
    random = np.random.default_rng([seed, int(1000 * wrong)])
    letters = sorted(set("".join(spoken)) - {" "})
    rows = []
    for i, reference in enumerate(spoken):
        hypothesis = " ".join(garbled(reference, letters, wrong, random).split())
        outputs = jiwer.process_characters(reference, hypothesis), jiwer.process_words(reference, hypothesis)
        edits = [[getattr(output, edit) for edit in EDITS] for output in outputs]
        units = zip(("char", "word"), edits, strict=True)
        lengths = len(reference), len(reference.split())
        row = {"id": f"clip_{i:04d}", "speaker": f"{i % 12:02d}secret", "test_set": "test", "reference": reference,
               "hypothesis": hypothesis, "seconds": len(reference) / 12, "frames": int(50 * len(reference) / 12),
               "nonblank_frames": len(hypothesis)}  # fmt: skip
        row |= {f"{unit}_{edit}": count for unit, of in units for edit, count in zip(EDITS, of, strict=True)}
        for metric, of, length in zip(("cer", "wer"), edits, lengths, strict=True):
            row |= {f"{metric}_errors": sum(of), f"{metric}_length": length}
        rows.append(row)
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    ledger.trial(signature).write("files/utterances.parquet", sink.getvalue().to_pybytes())
    ledger.trial(signature).write("files/audit.json", json.dumps(audited(len(spoken))))
    cer, wer = (100 * sum(r[f"{m}_errors"] for r in rows) / sum(r[f"{m}_length"] for r in rows) for m in ("cer", "wer"))
    history = History([Attempt("2026-01-01T00:00:00+00:00", "host", "a GPU", 1, 1.0, {"torch": "2"}, "abc", 3600.0)])
    for step in range(100, 500, 100):
        metrics = {
            "valid/cer": cer + 40 / step * 100, "train/loss": 10 / step, "audio_seconds_per_second": 250.0,
            "waiting_for_data_percent": 0.5,
        }  # fmt: skip
        history.add(metrics, step=step, time=1e9 + step)
    ledger.trial(signature).write("history.json", history.dump())
    ledger.trial(signature).write(
        "result.json",
        json.dumps(asdict(Result("finished", {"test/cer": cer, "test/wer": wer}, "", 3600.0, 1.0, 1))),
    )


def audited(count: int) -> dict[str, object]:
    """As `trainables.corpora.audit` writes it."""
    split = {
        "utterances": count, "seconds": 36.0 * count, "speakers": 12, "quarantined": {"too long": 2, "missing": 1},
        "normaliser": "letters", "characters": 1000,
        "deleted": {"P": {".": 40, "<": 2}, "M": {"\N{THAI CHARACTER MAI EK}": 9}},
    }  # fmt: skip
    shared = {"in_train": {"utterances_of_texts": 3, "speakers": 6, "utterances_of_speakers": count // 2}}
    return {"train": split, "valid": split | shared, "test": split | shared}


def garbled(text: str, letters: Sequence[str], wrong: float, random: np.random.Generator) -> str:
    """A text with this share of its characters replaced, dropped or doubled."""
    out = []
    for character in text:
        kind = random.random() / wrong
        if kind > 1 or character == " ":
            out.append(character)
        elif kind > 0.4:
            out.append(str(random.choice(list(letters))))
        elif kind > 0.2:
            out.append(character * 2)
    return "".join(out) or "x"
