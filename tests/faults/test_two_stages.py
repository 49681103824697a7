"""A recipe with two stages, which starts from what another has made, on a cluster."""

import json
import sys
from pathlib import Path

import pytest

from tests.faults.cluster import ROOT
from tests.faults.processes import kill, marked, until
from tests.faults.study import Study
from tests.toy.intents import SHORT, UTTERANCES, WEIGHTS, Intents
from trainables.run import LocalRun

SWEEP = ROOT / "tests" / "toy" / "intents_sweep.py"


def test_kills_in_the_second_stage(mark: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is killed, then the driver; then the study is submitted once more, and is as an undisturbed one."""
    monkeypatch.setenv("L2S_CACHE", study.environment["L2S_CACHE"])
    first = study.launch([*command(study), "--pause", "0.2"])
    student, teacher = Intents(seed=1), Intents(seed=1).teacher
    kept = study.storage / "intents" / "trials" / student.signature()
    until(lambda: reached(kept, SHORT.steps + 8), "the student is in its second stage")
    kill(workers(mark))
    first.says("goes on after a worker was lost")
    first.kill()
    output = study.launch(command(study)).ends(0)
    assert "1 trials and 1 that they start from, 1 finished, 1 to run, 1 of them from a checkpoint" in output

    need, undisturbed = LocalRun(tmp_path / "needs" / teacher.signature()), LocalRun(tmp_path / "undisturbed")
    need.finish(teacher.run(need))
    assert result(kept)["metrics"] == student.run(undisturbed)
    for file in (WEIGHTS, UTTERANCES):
        assert (kept / "files" / file).read_bytes() == (undisturbed.folder / file).read_bytes()
    needed = kept.with_name(teacher.signature())
    assert (needed / "files" / WEIGHTS).read_bytes() == (need.folder / WEIGHTS).read_bytes()
    assert result(needed)["attempts"] == 1
    assert "| λ = 1 | ours |" in (study.storage / "intents" / "intents.md").read_text()


def command(study: Study) -> list[str]:
    """What submits it."""
    where = ["--address", str(study.address), "--storage", str(study.storage), "--tracking-uri", study.uri]
    return [sys.executable, str(SWEEP), "--weights", "1", "--seeds", "1", *where]


def workers(mark: str) -> list[int]:
    """The processes that train."""
    return [pid for pid in marked(mark) if Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::RayTrainWorker")]


def reached(trial: Path, step: int) -> bool:
    """Whether a trial that has not ended has the checkpoint of a step, or a later one."""
    steps = [int(folder.name[5:]) for folder in trial.glob("checkpoints/step-*")]
    return max(steps, default=0) >= step and not (trial / "result.json").exists()


def result(trial: Path) -> dict:
    """What came of a trial."""
    return json.loads((trial / "result.json").read_text())
