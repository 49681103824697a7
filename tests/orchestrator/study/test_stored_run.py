import gc
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from orchestrator.study.lease import Lease, Superseded
from orchestrator.study.ledger import Attempt, Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_run import StoredRun, attempt
from orchestrator.study.sweep import Sweep, load
from tests.toy.recipe import Toy

Told = list[Mapping[str, float]]


@pytest.fixture
def told() -> Told:
    return []


def start(ledger: Ledger, lease: Lease, told: Told, *, rank: int = 0, gpus: float = 0.0) -> StoredRun:
    here = Attempt("2026-01-01T00:00:00+00:00", "host", gpus=gpus)
    return StoredRun(ledger, "a", attempt=here, rank=rank, lease=lease, told=told.append)


def state(tmp_path: Path, text: str) -> Path:
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "state.txt").write_text(text)
    return tmp_path / "state"


def test_attempts_are_counted_and_their_time_is_added(
    ledger: Ledger, lease: Lease, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("orchestrator.study.stored_run.time.monotonic", lambda: now[0])
    first = start(ledger, lease, told, gpus=2)
    assert first.resume() is None
    now[0] += 1800
    first.report({"loss": 1.0}, step=2, checkpoint=state(tmp_path, "two"))
    now[0] += 500  # of which nobody will hear

    now[0] += 1000
    second = start(ledger, lease, told, gpus=1)
    found = second.resume()
    assert found is not None
    assert (found / "state.txt").read_text() == "two"
    now[0] += 3600
    result = second.finish({"test/cer": 5.0})
    assert result == Result("finished", {"test/cer": 5.0}, seconds=5400, gpu_hours=2, attempts=2)
    assert ledger.result("a") == result
    assert [a.seconds for a in ledger.history("a").attempts] == [1800, 3600]


def test_an_attempt_that_dies_at_once_is_counted(ledger: Ledger, lease: Lease, told: Told) -> None:
    start(ledger, lease, told)
    start(ledger, lease, told)
    assert len(ledger.history("a").attempts) == 2


def test_what_is_reported_again_after_a_resume_is_there_once(
    ledger: Ledger, lease: Lease, told: Told, tmp_path: Path
) -> None:
    first = start(ledger, lease, told)
    for step in (2, 4, 6):
        first.report({"loss": 1 / step}, step=step, checkpoint=state(tmp_path, str(step)))
    for step in (4, 6):  # both are damaged
        ledger.trial("a").write(f"checkpoints/step-0000000{step}/state.txt", "?")
    assert start(ledger, lease, told).resume() is None
    again = start(ledger, lease, told)
    for step in (2, 4, 6, 8):
        again.report({"loss": 1 / step}, step=step)
    history = ledger.history("a")
    assert [(report["step"], report["loss"]) for report in history.reports] == [(s, 1 / s) for s in (2, 4, 6, 8)]
    assert [metrics["step"] for metrics in told] == [2, 4, 6, 2, 4, 6, 8]


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files: what is in it was fetched from a storage that is not on this machine."""
    folder = tmp_path / "fetched"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(Storage, "local", None)
    return folder


def test_a_fetched_checkpoint_is_gone_after_the_first_report(
    ledger: Ledger, lease: Lease, told: Told, tmp_path: Path, fetched: Path
) -> None:
    """Ray kills the workers of a trial that its scheduler stops, and they delete nothing then."""
    start(ledger, lease, told).report({"loss": 1.0}, step=2, checkpoint=state(tmp_path, "two"))
    runs = [start(ledger, lease, told, rank=rank) for rank in (0, 1)]
    found = [run.resume() for run in runs]
    assert [(folder / "state.txt").read_text() for folder in found if folder] == ["two", "two"]
    for run in runs:
        run.report({"loss": 0.5}, step=4)
    assert list(fetched.iterdir()) == []


def test_what_a_killed_attempt_fetched_is_deleted_by_the_next(
    ledger: Ledger, lease: Lease, told: Told, tmp_path: Path, fetched: Path
) -> None:
    start(ledger, lease, told).report({"loss": 1.0}, step=2, checkpoint=state(tmp_path, "two"))
    killed = [start(ledger, lease, told, rank=rank) for rank in (0, 1)]  # kept, so that they delete nothing
    again = start(ledger, lease, told)
    left = {folder.name.rpartition("-")[0][-2:] for folder in fetched.iterdir()}
    assert (len(list(fetched.iterdir())), left) == (2, {"-0", "-1"}), "the other worker's is left alone"
    found = again.resume()
    del killed
    gc.collect()
    assert found is not None
    assert (found / "state.txt").read_text() == "two", "an attempt that ends late deletes its own only"


def test_a_report_is_kept_when_its_checkpoint_cannot_be(
    ledger: Ledger, lease: Lease, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Storage, source: Path, name: str) -> None:
        raise OSError(28, "No space left on device")

    run = start(ledger, lease, told)
    run.report({"loss": 1.0}, step=2, checkpoint=state(tmp_path, "two"))
    monkeypatch.setattr(Storage, "upload", full)
    with pytest.raises(OSError, match="No space"):
        run.report({"loss": 0.5}, step=4, checkpoint=state(tmp_path, "four"))
    assert [report["step"] for report in ledger.history("a").reports] == [2, 4]
    assert ledger.checkpoints("a").steps() == ["step-00000002"]


def test_who_has_lost_the_study_writes_nothing_more(ledger: Ledger, told: Told, tmp_path: Path) -> None:
    lease = Lease(ledger.storage)
    with lease.hold(print):
        run = start(ledger, lease, told)
        run.report({"loss": 1.0}, step=2)
    before = ledger.trial("a").read("history.json")
    with pytest.raises(Superseded, match="Another submitter has taken the study over"):
        run.report({"loss": 0.5}, step=4, checkpoint=state(tmp_path, "four"))
    with pytest.raises(Superseded):
        run.finish({"test/cer": 1.0})
    assert ledger.trial("a").read("history.json") == before
    assert ledger.trial("a").names() == ["history.json"]


def test_only_the_first_worker_writes(ledger: Ledger, told: Told, tmp_path: Path) -> None:
    run = start(ledger, Lease(ledger.storage), told, rank=1)
    run.report({"loss": 1.0}, step=2, checkpoint=state(tmp_path, "two"))
    run.keep(state(tmp_path, "two") / "state.txt")
    run.finish({"test/cer": 1.0})
    assert ledger.trial("a").names() == []
    assert told == [{"loss": 1.0, "step": 2}]


def test_what_a_recipe_keeps_lies_with_its_result(ledger: Ledger, lease: Lease, told: Told, tmp_path: Path) -> None:
    run = start(ledger, lease, told)
    run.keep(state(tmp_path, "first") / "state.txt")
    run.keep(state(tmp_path, "second") / "state.txt")
    assert (ledger.trial("a") / "files").names() == ["state.txt"]
    assert ledger.trial("a").read("files/state.txt") == "second"


def test_an_interrupted_toy_ends_as_an_uninterrupted_one(storage: Storage, toys: Sweep, tmp_path: Path) -> None:
    ledger = Ledger.of(storage, toys)
    ledger.open(toys)
    lease = Lease(ledger.storage)
    troubled = Toy(language="cs", seconds=0, trouble="raise_once", log=str(tmp_path / "log"))

    def run(recipe: Toy, name: str) -> Result:
        here = attempt(host="host", hardware="processor")
        stored = StoredRun(ledger, name, attempt=here, rank=0, lease=lease, told=lambda metrics: None)
        return stored.finish(load({"type": "tests.toy.recipe:Toy", "fields": recipe.model_dump()}).run(stored))

    with lease.hold(print):
        alone = run(Toy(language="cs", seconds=0), "alone")
        with pytest.raises(ConnectionError):
            run(troubled, "troubled")
        assert ledger.checkpoints("troubled").steps() == ["step-00000002", "step-00000004"]
        resumed = run(troubled, "troubled")
    assert resumed.metrics == alone.metrics
    assert (alone.attempts, resumed.attempts) == (1, 2)
    reports = [
        [{k: v for k, v in report.items() if k != "time"} for report in ledger.history(name).reports]
        for name in ("alone", "troubled")
    ]
    assert reports[0] == reports[1]
    assert not ledger.begun(["troubled"])
    assert (ledger.trial("troubled") / "files").names() == ["weights.npy"]


NEED = Toy(language="fi", seconds=0, length=2)
STARTED = Toy(language="cs", seconds=0, start=NEED)


@pytest.fixture
def runs(storage: Storage) -> Iterator[dict[Toy, StoredRun]]:
    """Runs of a recipe and of its need, which has kept its files and is not finished."""
    sweep = Sweep("toys", [STARTED], axes=("language", "start"))
    ledger = Ledger.of(storage, sweep)
    ledger.open(sweep)
    lease = Lease(ledger.storage)
    with lease.hold(print):
        for trial in sweep.everything:
            ledger.begin(trial)
        here = attempt(host="host", hardware="processor")
        runs = {
            recipe: StoredRun(ledger, recipe.signature(), attempt=here, rank=0, lease=lease, told=lambda _: None)
            for recipe in (NEED, STARTED)
        }
        NEED.run(runs[NEED])
        yield runs


def test_the_files_of_a_need_are_there_for_what_starts_from_it(runs: dict[Toy, StoredRun], storage: Storage) -> None:
    runs[NEED].finish({})
    folder = runs[STARTED].needed(NEED)
    assert [path.name for path in folder.iterdir()] == ["weights.npy"]
    assert folder.parts[-2] == NEED.signature() if storage.local else folder.parts[-3:-1] == ("cache", "needs")
    assert runs[STARTED].needed(NEED) == folder
    assert STARTED.run(runs[STARTED]) != STARTED.model_copy(update={"start": None}).run(runs[STARTED])


def test_one_that_was_trained_anew_is_fetched_anew(runs: dict[Toy, StoredRun], storage: Storage) -> None:
    folders = set()
    for attempts in (1, 2):
        runs[NEED].finish({"attempts": attempts})
        folders.add(runs[STARTED].needed(NEED))
    assert len(folders) == (1 if storage.local else 2)


@pytest.mark.parametrize("storage", ["s3", "memory"], indirect=True)
def test_a_copy_of_them_is_whole_or_not_there(
    runs: dict[Toy, StoredRun], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Storage, name: str, target: Path) -> Path:
        target.write_text("hal")
        raise ConnectionError("the store is away")

    runs[NEED].finish({})
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "download", interrupted)
        with pytest.raises(ConnectionError):
            runs[STARTED].needed(NEED)
    assert not [path for path in (cache / "needs").iterdir() if not path.name.startswith(".")]
    assert np.load(runs[STARTED].needed(NEED) / "weights.npy").shape == (16,)


def test_a_recipe_that_is_no_need_is_refused(runs: dict[Toy, StoredRun]) -> None:
    with pytest.raises(
        ValueError, match=r"^A recipe must name in its `needs` .*, but cs 0 from fi 0 does not name ro 0"
    ):
        runs[STARTED].needed(Toy(language="ro"))


def test_a_need_that_is_not_finished_is_refused(runs: dict[Toy, StoredRun]) -> None:
    with pytest.raises(ValueError, match=r"^A need must be finished before what starts from it, but fi 0 is not\.$"):
        runs[STARTED].needed(NEED)


def test_an_attempt_says_with_what_it_was_made() -> None:
    here = attempt(host="host", hardware="H100", workers=2, gpus=2, commit="abc")
    assert (here.host, here.hardware, here.workers, here.gpus, here.commit) == ("host", "H100", 2, 2, "abc")
    assert here.begun.endswith("+00:00")
    assert {"python", "ray", "torch"} <= here.versions.keys()
