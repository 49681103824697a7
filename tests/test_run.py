import json
import shutil

import pytest

from tests.toy.recipe import Toy
from trainables.run import LocalRun, Run


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "state").write_text("weights")
    return folder


def test_it_is_a_run(tmp_path):
    assert isinstance(LocalRun(tmp_path), Run)


def test_the_first_start_has_nothing_to_resume(tmp_path):
    assert LocalRun(tmp_path / "run").resume() is None
    assert LocalRun(tmp_path / "run").metrics() == []


def test_a_folder_is_one_recipes(tmp_path, checkpoint):
    folder = tmp_path / "run"
    LocalRun(folder).claim("one")
    assert (folder / "recipe.digest").read_text() == "one"
    LocalRun(folder).report({}, step=5, checkpoint=checkpoint)
    LocalRun(folder).claim("one")
    with pytest.raises(ValueError, match=r"run must be new or of this recipe, other, but is of one instead\.$"):
        LocalRun(folder).claim("other")


def test_checkpoints_of_nobody_are_nobodys(tmp_path, checkpoint):
    LocalRun(tmp_path / "run").report({}, step=5, checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"this recipe, one, but is of one that it does not name instead\.$"):
        LocalRun(tmp_path / "run").claim("one")
    assert not (tmp_path / "run" / "recipe.digest").exists()


def test_every_rank_is_refused_and_the_first_one_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    LocalRun(tmp_path / "run").claim("one")
    assert not (tmp_path / "run" / "recipe.digest").exists()
    monkeypatch.setenv("RANK", "0")
    LocalRun(tmp_path / "run").claim("other")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match="but is of other instead"):
        LocalRun(tmp_path / "run").claim("one")


def test_resume_gives_the_last_checkpoint_to_another_process_too(tmp_path, checkpoint):
    run = LocalRun(tmp_path / "run")
    run.report({"loss": 2.0}, step=5, checkpoint=checkpoint)
    (checkpoint / "state").write_text("better weights")
    run.report({"loss": 1.0}, step=10, checkpoint=checkpoint)
    shutil.rmtree(checkpoint)  # a run keeps its own copy
    resumed = LocalRun(tmp_path / "run").resume()
    assert resumed is not None
    assert resumed.name == "step-00000010"
    assert (resumed / "state").read_text() == "better weights"


def test_only_the_last_two_checkpoints_are_kept(tmp_path, checkpoint):
    run = LocalRun(tmp_path / "run")
    for step in (5, 95, 100, 1000):
        run.report({}, step=step, checkpoint=checkpoint)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["step-00000100", "step-00001000"]


def test_a_report_without_a_checkpoint_commits_none(tmp_path, checkpoint):
    run = LocalRun(tmp_path / "run")
    run.report({"loss": 2.0}, step=5, checkpoint=checkpoint)
    run.report({"loss": 1.0}, step=6)
    assert [entry["step"] for entry in run.metrics()] == [5, 6]
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


def test_a_copy_that_was_cut_short_is_ignored_and_replaced(tmp_path, checkpoint):
    run = LocalRun(tmp_path / "run")
    run.report({}, step=5, checkpoint=checkpoint)
    partial = tmp_path / "run" / "checkpoints" / "step-00000010.partial"
    partial.mkdir()
    (partial / "half").touch()
    resumed = run.resume()
    assert resumed is not None
    assert resumed.name == "step-00000005"
    run.report({}, step=10, checkpoint=checkpoint)
    resumed = run.resume()
    assert resumed is not None
    assert [path.name for path in resumed.iterdir()] == ["state"]
    assert not partial.exists()


def test_a_copy_that_fails_leaves_the_last_checkpoint(tmp_path, checkpoint, monkeypatch):
    run = LocalRun(tmp_path / "run")
    run.report({}, step=5, checkpoint=checkpoint)

    def disk_full(source, target):
        target.mkdir()
        (target / "half").touch()
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copytree", disk_full)
    with pytest.raises(OSError, match="No space"):
        run.report({}, step=10, checkpoint=checkpoint)
    resumed = run.resume()
    assert resumed is not None
    assert (resumed / "state").read_text() == "weights"


def test_the_same_step_again_replaces_its_checkpoint(tmp_path, checkpoint):
    run = LocalRun(tmp_path / "run")
    run.report({}, step=5, checkpoint=checkpoint)
    (checkpoint / "state").write_text("again")
    run.report({}, step=5, checkpoint=checkpoint)
    assert (tmp_path / "run" / "checkpoints" / "step-00000005" / "state").read_text() == "again"


def test_metrics_come_back_in_order_as_lines_of_json(tmp_path):
    run = LocalRun(tmp_path / "run")
    run.report({"cer": 12.5}, step=1)
    run.report({"cer": 10.0, "wer": 40.0}, step=2)
    assert run.metrics() == [{"step": 1, "cer": 12.5}, {"step": 2, "cer": 10.0, "wer": 40.0}]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.metrics()


def test_only_the_first_rank_writes(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    LocalRun(tmp_path / "run").report({"loss": 1.0}, step=5, checkpoint=checkpoint)
    monkeypatch.setenv("RANK", "0")
    run = LocalRun(tmp_path / "run")
    assert run.metrics() == []
    assert run.resume() is None


def test_what_is_kept_lies_beside_the_metrics_and_outlives_its_source(tmp_path):
    run, file = LocalRun(tmp_path / "run"), tmp_path / "student.safetensors"
    for content in (b"weights", b"better"):  # a resumed trial keeps its files again
        file.write_bytes(content)
        run.keep(file)
    file.unlink()
    assert (tmp_path / "run" / "student.safetensors").read_bytes() == b"better"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "student.safetensors"]


def test_a_keep_that_fails_leaves_what_was_kept(tmp_path, monkeypatch):
    run, file = LocalRun(tmp_path / "run"), tmp_path / "rows.parquet"
    file.write_text("rows")
    run.keep(file)

    def disk_full(source, target):
        target.write_text("ro")
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copyfile", disk_full)
    file.write_text("other rows")
    with pytest.raises(OSError, match="No space"):
        run.keep(file)
    assert (tmp_path / "run" / "rows.parquet").read_text() == "rows"


def test_only_the_first_ranks_file_is_kept(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    LocalRun(tmp_path / "run").keep(checkpoint / "state")
    LocalRun(tmp_path / "run").keep(tmp_path / "only the first rank has it")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoints"]


def test_a_need_lies_beside_the_run_and_is_there_when_it_is_finished(tmp_path):
    need, run = Toy(language="fi", length=2, seconds=0), LocalRun(tmp_path / "run")
    before = LocalRun(run.needs / need.signature(), run.needs)
    assert before.folder == tmp_path / "needs" / need.signature()
    result = need.run(before)
    with pytest.raises(ValueError, match=r"^A recipe must name in its `needs` what it starts from, but fi 0 was not "):
        run.needed(need)
    assert not before.finished
    before.finish(result)
    assert before.finished
    assert run.needed(need) == LocalRun(tmp_path / "another").needed(need) == before.folder
    assert (run.needed(need) / "weights.npy").exists()


def test_only_the_first_rank_finishes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run = LocalRun(tmp_path / "run")
    run.finish({"step": 1.0})
    assert not run.finished
