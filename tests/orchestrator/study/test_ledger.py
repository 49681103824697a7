import json
import os
from pathlib import Path

import pytest

from orchestrator.study.ledger import Attempt, History, Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Sweep, Trial, grid
from tests.toy.recipe import Toy

RESULTS = [
    Result("finished", {"step": 8.0, "test/cer": 1.5}, seconds=2.5, gpu_hours=0.25, attempts=3),
    Result("stopped", {"step": 4.0}, reason="worse than others"),
    Result("failed", reason="ZeroDivisionError: »ž«"),
]
COLUMNS = {"language": ["cs", "ro"], "weight": [0.0, 0.5]}


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.status)
def test_what_came_of_a_trial_comes_back(result: Result, storage: Storage, toys: Sweep) -> None:
    ledger, trial = Ledger.of(storage, toys), toys.trials[0]
    ledger.open(toys)
    ledger.begin(trial)
    assert ledger.result(trial.signature) is None
    ledger.finish(trial.signature, result)
    again = Ledger.of(storage, toys)
    assert again.result(trial.signature) == result
    assert again.results([t.signature for t in toys.trials]) == {trial.signature: result}
    # A trial that begins again has come to nothing yet.
    again.begin(trial)
    assert again.results([trial.signature]) == {}


def test_a_reason_can_be_printed_and_stored_whatever_was_raised(ledger: Ledger, toys: Sweep) -> None:
    signature = toys.trials[0].signature
    ledger.finish(signature, Result("failed", reason="OSError: caf\udce9\x00\x1b[31m \u010d\nand more"))
    result = ledger.result(signature)
    assert result is not None
    assert result.reason == "OSError: caf\\udce9\\x00\\x1b[31m \u010d\nand more"
    assert ledger.results([signature]) == {signature: result}


def test_a_reason_is_kept_without_credentials(ledger: Ledger, toys: Sweep) -> None:
    ledger.begin(toys.trials[0])
    ledger.finish(toys.trials[0].signature, Result("failed", reason="no http://me:sword/fish@host/a?token=fish"))
    assert ledger.trial(toys.trials[0].signature).read("result.json") is not None
    assert "fish" not in str(ledger.trial(toys.trials[0].signature).read("result.json"))
    assert ledger.results([toys.trials[0].signature])[toys.trials[0].signature].reason == "no http://host/a"


def test_what_was_asked_stands_there(ledger: Ledger, toys: Sweep) -> None:
    ledger.begin(toys.trials[1])
    text = ledger.trial(toys.trials[1].signature).read("recipe.json")
    assert json.loads(text or "") == toys.trials[1].describe()


def test_a_finished_trial_needs_no_checkpoints(ledger: Ledger, toys: Sweep, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "weights").write_text("1")
    for status in ("stopped", "failed", "finished"):
        ledger.checkpoints("a").commit(2, tmp_path / "state")
        assert ledger.begun(["a"])
        ledger.finish("a", Result(status))
        assert bool(ledger.begun(["a"])) == (status != "finished")


def test_a_history_comes_back_and_says_what_a_trial_took(ledger: Ledger) -> None:
    history = History([Attempt("2026-01-01T00:00:00+00:00", "a", gpus=2, seconds=1800, versions={"ray": "2.60"})])
    history.attempts.append(Attempt("2026-01-02T00:00:00+00:00", "b", gpus=1, seconds=3600, commit="abc"))
    history.add({"valid/cer": 12.5}, step=2, time=1.5)
    assert ledger.history("a") == History()
    ledger.trial("a").write("history.json", history.dump())
    assert ledger.history("a") == history
    assert ledger.histories(["a", "b"]) == {"a": history}
    assert (history.seconds, history.gpu_hours) == (5400, 2)


def test_a_report_is_in_the_history_once() -> None:
    history = History()
    history.add({"loss": 1.0}, step=2, time=1.0)
    history.add({"loss": 1.0}, step=2, time=2.0)  # after a resume from before it
    history.add({"test/cer": 3.0}, step=2, time=3.0)  # another, of the same step
    history.add({"loss": 0.5}, step=4, time=4.0)
    assert history.reports == [
        {"loss": 1.0, "step": 2, "time": 1.0},
        {"test/cer": 3.0, "step": 2, "time": 3.0},
        {"loss": 0.5, "step": 4, "time": 4.0},
    ]


def test_what_values_were_called_before_is_translated_when_it_is_read(ledger: Ledger) -> None:
    reports = [
        {"train_loss": 2.0, "train_distillation": 1.0, "valid_cer": 9.0, "best_step": 10.0, "step": 10, "time": 1.0},
        {"test_cer": 8.0, "best_valid_cer": 9.0, "audio_seconds_per_second": 50.0, "step": 10, "time": 2.0},
        {"train/loss": 1.5, "latest_test_x": 1.0, "step": 20, "time": 3.0},
    ]
    ledger.trial("a").write("history.json", json.dumps({"attempts": [], "reports": reports}))
    assert ledger.history("a").reports == [
        {"train/loss": 2.0, "train/distillation": 1.0, "valid/cer": 9.0, "best_step": 10.0, "step": 10, "time": 1.0},
        {"test/cer": 8.0, "valid/cer": 9.0, "audio_seconds_per_second": 50.0, "step": 10, "time": 2.0},
        {"train/loss": 1.5, "latest_test_x": 1.0, "step": 20, "time": 3.0},
    ]
    ledger.trial("a").write("result.json", json.dumps({"status": "finished", "metrics": reports[1]}))
    assert ledger.results(["a"])["a"].metrics == ledger.history("a").reports[1]


def test_looking_at_a_study_changes_nothing(toys: Sweep, tmp_path: Path) -> None:
    storage = Storage.at(str(tmp_path / "runs"))
    Ledger.of(storage, toys).results([t.signature for t in toys.trials])
    assert not (tmp_path / "runs").exists()
    Ledger.of(storage, toys).open(toys)
    before = listing(tmp_path / "runs")
    ledger = Ledger.of(storage, toys)
    assert (ledger.results(["a"]), ledger.begun(["a"]), ledger.histories(["a"])) == ({}, set(), {})
    ledger.open(toys)  # and to open it again, neither
    assert listing(tmp_path / "runs") == before


@pytest.mark.parametrize(
    "axes",
    [
        {"language": ["cs", "ro", "fi"], "weight": [0.0, 0.5]},
        {"language": ["fi"], "weight": [0.0]},
        {"language": ["cs"], "weight": [0.0, 0.25, 1.0]},
        COLUMNS | {"seconds": [3.0]},  # says where, not what
    ],
)
def test_more_or_fewer_cells_are_no_change(axes: dict[str, list[object]], ledger: Ledger, toy: Toy) -> None:
    sweep = Sweep("toys", grid(toy, axes), axes=("language", "weight"))
    Ledger.of(Storage(ledger.storage.filesystem, ledger.storage.path.rpartition("/")[0]), sweep).open(sweep)


def test_a_changed_recipe_under_the_same_name_is_named(ledger: Ledger, toy: Toy, tmp_path: Path) -> None:
    changed = Sweep("toys", grid(toy, COLUMNS | {"length": [9]}), axes=("language", "weight"))
    storage, before = Storage.at(str(tmp_path / "runs")), listing(tmp_path / "runs")
    with pytest.raises(ValueError, match=r"study 'toys' must stay as they are .*: `length` is 9, but was 8\. Give"):
        Ledger.of(storage, changed)
    assert listing(tmp_path / "runs") == before
    Ledger.of(storage, Sweep("other", changed.recipes, axes=changed.axes))


def test_other_models_under_the_same_name_are_named(recipe: Toy, models: Path, tmp_path: Path) -> None:
    axes, storage = ("corpus.language", "weight"), Storage.at(str(tmp_path / "runs"))
    sweep = Sweep("study", [recipe], axes=axes)
    Ledger.of(storage, sweep).open(sweep)
    added = grid(recipe, {"corpus.language": ["cs", "ro"], "weight": [0.5, 2.0]})
    assert Ledger.of(storage, Sweep("study", added, axes=axes))
    changed = grid(recipe, {"student.encoder.model": [str(models / "wav2vec2")]})
    with pytest.raises(ValueError, match=r"`student\.encoder\.fingerprint` is \"\w{10,64}\", but was \"\w{10,64}\""):
        Ledger.of(storage, Sweep("study", changed, axes=axes))


def test_another_version_is_told(ledger: Ledger, toys: Sweep, tmp_path: Path) -> None:
    storage = Storage.at(str(tmp_path / "runs"))
    ledger.storage.write("study.json", json.dumps({"format": 3}))
    with pytest.raises(ValueError, match=r"must have format 2, but has 3: another version .* give another `name`"):
        Ledger.of(storage, toys)
    # The first version had no such file at all.
    ledger.storage.write("trials/a/result.json", "{}")
    ledger.storage.delete("study.json")
    with pytest.raises(ValueError, match=r"must have a study\.json, but has none; give another `name`"):
        Ledger.of(storage, toys)


@pytest.mark.parametrize("text", ["{", '{"status": "finished", "more": 1}', "[]", "\0\0"])
def test_a_damaged_file_is_named(text: str, ledger: Ledger, toys: Sweep, tmp_path: Path) -> None:
    for name, read in (("result", ledger.result), ("history", ledger.history)):
        ledger.trial("a").write(f"{name}.json", text)
        with pytest.raises(
            ValueError, match=rf"trials/a/{name}\.json must be as this program wrote it, but is damaged"
        ):
            read("a")
    ledger.storage.write("study.json", text[:1])
    with pytest.raises(ValueError, match=r"toys/study\.json must be as this program wrote it, but is damaged"):
        Ledger.of(Storage.at(str(tmp_path / "runs")), toys)


def test_a_storage_that_cannot_be_written_is_said(toys: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.of(Storage.at(str(tmp_path / "runs")), toys)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"The storage must be writable, but .*toys is not: .*No space left"):
        ledger.open(toys)


def test_a_thousand_results_are_read_in_a_moment(ledger: Ledger, toy: Toy) -> None:
    trials = [Trial(cell) for cell in grid(toy, {"language": [f"l{i}" for i in range(200)], "weight": range(5)})]
    for trial in trials:
        ledger.trial(trial.signature).filesystem.create_dir(ledger.trial(trial.signature).path)
        Path(ledger.trial(trial.signature).path, "result.json").write_text('{"status": "finished"}')
    assert len(ledger.results([trial.signature for trial in trials])) == 1000
