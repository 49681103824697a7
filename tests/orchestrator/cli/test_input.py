"""What cannot be used is one sentence, before anything is written."""

import importlib.metadata
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.study.layout import Layout
from orchestrator.study.sweep import Sweep
from orchestrator.study.value import Value
from tests.orchestrator.cli.submitted import refused, runs_of, study
from tests.toy.recipe import Toy
from tests.toy.sweep import Options
from tests.toy.sweep import study as toys
from trainables.config import explain
from trainables.own import Own


@pytest.mark.parametrize("release", ["2.53.0", "1.13.0", "3.0.0.dev0"])
@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
def test_another_release_of_ray(
    release: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"ray": release}[name])
    refused(more, f"^Ray must be at least 2.54 and below 3, but is {re.escape(release)} instead", capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster, as far as input is checked against it."""
    monkeypatch.setattr("orchestrator.cluster.runner.join", lambda address, **_: None)
    monkeypatch.setattr("orchestrator.cluster.runner.nodes", lambda: [{"CPU": 2.0, "node:__internal_head__": 1.0}])


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--gpus", "1"], "The cluster must have at least 1 GPU for one trial, but has 0"),
        (["--workers", "3"], "The cluster must have at least 3 CPU for one trial, but has 2"),
        (["--pin", "steady"], "`pin` must be a resource of some node, but no node has 'steady'"),
    ],
)
def test_what_the_cluster_lacks(
    arguments: list[str], more: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused([*arguments, *more], sentence, capsys)
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_no_worker_could_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a worker, `__main__` is Ray's own."""
    monkeypatch.setattr(Toy, "__module__", "__main__")
    refused([], "in modules that workers can import, but Toy is in the script itself", capsys)
    assert list(tmp_path.iterdir()) == []
    assert study("--local", "--languages", "cs", "--weights", "0", "--plan") == 0


class Part(Own):
    """Something that a recipe has."""


class Parted(Toy):
    """A toy with a part."""

    part: Part = Part()


def test_a_part_that_no_worker_could_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Part, "__module__", "__main__")

    def parted(options: Options) -> tuple[Sweep, Layout]:
        """Toys with a part that the script defines."""
        sweep, layout = toys(options)
        return replace(sweep, recipes=[Parted(**recipe.model_dump()) for recipe in sweep.recipes]), layout

    assert main(Options, parted, explain, []) == 2
    sentence = "A recipe and its parts must be in modules that workers can import, but Part is in the script itself: "
    assert capsys.readouterr().err.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
def test_tables_that_cannot_be(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is trained or written."""

    def unreported(options: Options) -> tuple[Sweep, Layout]:
        """A table of a value that the recipe does not have."""
        sweep, layout = toys(options)
        return sweep, replace(layout, tables=[replace(layout.tables[0], value=Value("test/per"))])

    def unjudged(options: Options) -> tuple[Sweep, Layout]:
        """Nothing that a scheduler could go by."""
        sweep, layout = toys(options)
        return replace(sweep, metric=None), layout

    for made, arguments, sentence in (
        (
            unreported,
            [],
            "A value must be one that the recipes report, test/cer, valid/cer, but table1 has 'test/per'.",
        ),
        (unjudged, ["--scheduler", "asha"], "The sweep must name the `metric` that `scheduler` asha goes by, but"),
    ):
        assert main(Options, made, explain, ["--local", *arguments, *more]) == 2
        told = capsys.readouterr().err
        assert told.startswith(sentence)
        assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
def test_a_cluster_seen_from_outside(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["--address", "ray://127.0.0.1:10001", *more], r"`address` must be HOST:PORT of a cluster's head", capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--tracking-uri", "http://me:swordfish@127.0.0.1:9"],
            r"MLflow must answer at http://127\.0\.0\.1:9, but does not: .*Connection refused",
        ),
        (["--tracking-uri", "nonsense://x"], "MLflow must answer at nonsense://x, but does not"),
        (["--storage", "nosuch://x", "--tracking-uri", "http://x"], "must be a folder or a URL, but nosuch://x is not"),
        (["--storage", "memory://runs"], "`tracking_uri` must be given where the storage is no folder, but is not"),
        (["--tracking-uri", ""], "`tracking_uri` must be an MLflow server or a database, but is empty"),
        (["--tracking-uri", "mlruns"], "MLflow at mlruns must take the study, but does not: The filesystem tracking"),
        (
            ["--tracking-uri", "postgresql://u:swordfish/@127.0.0.1:9/db"],
            r"must answer at postgresql://127\.0\.0\.1:9/db, but",
        ),
        (
            ["--storage", "file://u:swordfish@host/runs"],
            "must have an absolute path on this machine, .* file://host/runs has",
        ),
        (["--workers", "0"], "`workers` must be at least 1, but is 0 instead"),
        (["--workers", "2", "--most-workers", "1"], "`most_workers` must be at least `workers`, which is 2, but is 1"),
    ],
)
def test_options_that_cannot_be_used(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["--local", *arguments], sentence, capsys)
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "RAY_ADDRESS",
            "127.0.0.1:9",
            r"A Ray cluster must run at 127\.0\.0\.1:9, but none does: .*; RAY_ADDRESS names it",
        ),
        (
            "RAY_ADDRESS",
            "ray://me:swordfish@h:1",
            "RAY_ADDRESS must be HOST:PORT of a cluster's head, .* but is ray://h:1",
        ),
        (
            "RAY_ADDRESS",
            "127.0.0.1",
            r"RAY_ADDRESS must be HOST:PORT of a cluster's head, .* but is 127\.0\.0\.1 instead",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "http://me:swordfish@127.0.0.1:9",
            r"MLflow must answer at http://127\.0\.0\.1:9, but does ",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "nonsense://x",
            "MLflow must answer at nonsense://x, but .*; MLFLOW_TRACKING_URI names it",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "file:///mlruns",
            "MLflow at file:///mlruns must take the study, but does not: The file",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "sqlite:////proc/a",
            "MLflow's database must be in a folder that can be written, but /pro",
        ),
        ("L2S_CACHE", "/proc/cache", "L2S_CACHE must be a folder that can be written, but /proc/cache is not"),
        ("L2S_CACHE", "/dev/null", "L2S_CACHE must be a folder that can be written, but /dev/null is not"),
        ("HF_HOME", "/dev/null/hub", "HF_HOME must be a folder that can be written, but /dev/null/hub is not"),
        ("HF_HOME", "~nobody-of-that-name", "HF_HOME must be a folder, but is ~nobody-of-that-name instead"),
    ],
)
def test_a_variable_is_checked_like_an_option(
    variable: str,
    value: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    begun = time.monotonic()
    refused([] if variable == "RAY_ADDRESS" else ["--local"], sentence, capsys)
    assert time.monotonic() - begun < 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("database")
def test_empty_variables_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "HF_HOME"):
        monkeypatch.setenv(name, "")
    assert study("--local", "--languages", "cs", "--weights", "0") == 0
    assert len(runs_of(tmp_path)) == 2


def test_an_option_that_does_not_exist_is_told_without_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--trackng-uri", "http://me:swordfish@host"],
        ["--seconds", "s3://me:swordfish@host"],
        ["--trackng-uri=http://me:sword/fish@host"],
    ):
        with pytest.raises(SystemExit) as ended:
            study(*arguments)
        assert ended.value.code == 2
        told = capsys.readouterr().err
        assert "fish" not in told
        assert arguments[0].partition("=")[0] in told


def test_a_bucket_that_does_not_exist(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--local", "--storage", f"{s3}-not/runs", "--tracking-uri", "sqlite:///mlflow.db"]
    refused(arguments, r"The storage must be in a bucket that exists, but 'bucket-\w+-not' does not", capsys)
    assert not Path("mlflow.db").exists()


@pytest.mark.usefixtures("denied")
@pytest.mark.parametrize("who", ["", "me:swordfish@"])
def test_a_storage_without_credentials(who: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--local", "--storage", f"s3://{who}bucket/runs", "--tracking-uri", "sqlite:///mlflow.db"]
    refused(arguments, "The storage must be readable, but s3://bucket/runs/?.* is not: .*ACCESS_DENIED", capsys)
    assert not Path("mlflow.db").exists()
