"""Studies to record, and a database to record them in."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Attempt, Ledger
from orchestrator.study.stored_run import StoredRun
from orchestrator.study.sweep import Sweep, Trial
from orchestrator.tracking import tracker as tracking
from orchestrator.tracking.tracker import default_uri
from tests.orchestrator.tracking.recorded import STEPS


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(tracking, "FIRST_WAIT", 0.01)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return default_uri(tmp_path)


@pytest.fixture
def run(ledger: Ledger, toys: Sweep, lease: Lease, tmp_path: Path) -> Callable[[Trial, int], None]:
    """Reports of a trial on its storage, up to a step; and what it keeps."""

    def run(trial: Trial, upto: int) -> None:
        here = Attempt("2026-01-01T00:00:00+00:00", "host", "H100", 2, 2, {"ray": "2.60"}, "abc")
        stored = StoredRun(ledger, trial.signature, attempt=here, rank=0, lease=lease, told=lambda _: None)
        for step in STEPS:
            if step <= upto:
                stored.report({"valid/cer": 50 + step, "loss": 1 / step}, step=step)
        for name in ("utterances.parquet", "student.safetensors"):
            (tmp_path / name).write_text(name)
            stored.keep(tmp_path / name)

    return run
