"""A recipe with two stages, which starts from what another has made, on a cluster."""

import json
import sys
from pathlib import Path

from tests.faults.cluster import ROOT
from tests.faults.processes import kill, marked, until
from tests.faults.study import Study
from tests.toy.intents import SHORT, UTTERANCES, WEIGHTS, Intents

SWEEP = ROOT / "tests" / "toy" / "intents_sweep.py"


def test_kills_in_the_second_stage(mark: str, study: Study) -> None:
    """A worker is killed, then the driver; then the study is submitted once more, and is as an undisturbed one."""
    reference = study.folder / "reference"
    study.launch([*command(reference), "--local"]).ends(0)

    disturbed = [*command(study.storage), "--address", str(study.address)]
    first = study.launch([*disturbed, "--seeds", "1", "--pause", "0.2"])
    students = [study.storage / "intents" / "trials" / Intents(seed=seed).signature() for seed in (1, 2)]
    until(lambda: reached(students[0], SHORT.steps + 8), "the student is in its second stage")
    kill(workers(mark))
    first.says("goes on after a worker was lost")
    first.kill()
    output = study.launch(disturbed).ends(0)
    assert "2 trials and 1 that they start from, 1 finished, 2 to run, 1 of them from a checkpoint" in output

    names = sorted(folder.name for folder in (reference / "intents" / "trials").iterdir())
    assert sorted(folder.name for folder in (study.storage / "intents" / "trials").iterdir()) == names
    for name in names:
        ours, theirs = (storage / "intents" / "trials" / name for storage in (study.storage, reference))
        assert result(ours)["metrics"] == result(theirs)["metrics"]
        for file in (WEIGHTS, UTTERANCES) if ours in students else (WEIGHTS,):
            assert (ours / "files" / file).read_bytes() == (theirs / "files" / file).read_bytes()
    assert result(study.storage / "intents" / "trials" / Intents().teacher.signature())["attempts"] == 1
    table = "intents/intents.md"
    assert (study.storage / table).read_bytes() == (reference / table).read_bytes()


def command(storage: Path) -> list[str]:
    """What submits the study to a storage."""
    return [sys.executable, str(SWEEP), "--weights", "1", "--storage", str(storage)]


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
