from pathlib import Path

import pytest

from orchestrator.ledger import Ledger, write_atomically
from orchestrator.sweep import Trial
from trainables.recipes.distill_l2s import DistillL2S


def test_a_trial_is_finished_when_its_result_is_there(recipe: DistillL2S, tmp_path: Path) -> None:
    ledger, trial = Ledger.open(tmp_path, "study"), Trial(recipe)
    ledger.begin(trial)
    assert ledger.result(trial.signature) is None
    ledger.finish(trial.signature, {"metrics": {"test_cer": 1.5}, "seconds": 2})
    again = Ledger.open(tmp_path, "study")
    assert again.result(trial.signature) == {"metrics": {"test_cer": 1.5}, "seconds": 2}


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "result.json", "first")

    def broken(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "result.json", "second")
    assert (tmp_path / "result.json").read_text() == "first"


def test_storage_must_be_a_folder_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"must be a folder that can be written, but .*file"):
        Ledger.open(tmp_path / "file", "study")
