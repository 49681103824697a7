"""A cell of a finished study becomes a folder that transformers loads, with its card."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from pyarrow import parquet

from orchestrator.study.ledger import Attempt, History, Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Sweep, grid
from orchestrator.tracking.tracker import SIGNATURE, default_uri
from sweeps.export import main
from tests.toy.recipe import Toy
from trainables import testing
from trainables.corpora.batching import ByCount
from trainables.corpora.common_voice import CommonVoice
from trainables.optimisation import Optimisation
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun
from trainables.students.ctc import CTCStudent, Pretrained
from trainables.teachers.language_model import LanguageModel
from trainables.transcribe import main as transcribe


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, release: Path, models: Path) -> Iterator[Path]:
    """Two languages fine-tuned with two seeds: cs is finished with seed 1, failed with 2; ro has not begun."""
    base = DistillL2S(
        corpus=CommonVoice(root=str(release), language="cs"),
        student=CTCStudent(encoder=Pretrained(model=str(models / "wav2vec2"))),
        teacher=LanguageModel(model=str(models / "bert")),
        weight=0,
        batching=ByCount(utterances=6),
        optimisation=Optimisation(steps=4, warmup=1, evaluate_every=2, new_learning_rate=0.1, precision="float32"),
    )
    axes = {"corpus.language": ["cs", "ro"], "seed": [1, 2]}
    sweep = Sweep("tiny", grid(base, axes), axes=tuple(axes))
    folder = tmp_path_factory.mktemp("study")
    ledger = Ledger.of(Storage.at(str(folder)), sweep)
    ledger.open(sweep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L2S_CACHE", str(folder / "cache"))
        for trial in sweep.trials:
            ledger.begin(trial)
        done, failed, *_ = sweep.trials
        metrics = done.recipe.run(LocalRun(folder / "tiny" / "trials" / done.signature / "files"))
    history = History([Attempt(begun="2026-11-21T12:00:00+00:00", commit="c0ffee")])
    ledger.trial(done.signature).write("history.json", history.dump())
    ledger.finish(done.signature, Result("finished", metrics))
    ledger.finish(failed.signature, Result("failed", reason="RuntimeError: out of luck"))
    yield folder / "tiny"
    shutil.rmtree(folder)


CS = ("--language", "cs", "--seed", "1")


@pytest.fixture
def uri(study: Path, tmp_path: Path, empty_database: Path) -> str:
    """Where MLflow has a run of the finished trial."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    client = MlflowClient(default_uri(tmp_path))
    experiment = client.create_experiment("tiny", artifact_location=(tmp_path / "artifacts").as_uri())
    (files,) = study.glob("trials/*/files")
    client.create_run(experiment, tags={SIGNATURE: files.parent.name})
    return default_uri(tmp_path)


def card(folder: Path) -> tuple[dict, str]:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_a_registered_model_is_the_exported_folder(
    study: Path, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    assert main([str(study), *CS, "--to", str(model), "--register-as", "czech", "--tracking-uri", uri]) == 0
    assert capsys.readouterr().out.endswith(f"{model}, version 1 of czech in MLflow\n")
    registered = Path(str(MlflowClient(uri).get_model_version("czech", "1").source).removeprefix("file://"))
    names = sorted(path.name for path in model.iterdir())
    assert sorted(path.name for path in registered.iterdir()) == names
    assert all((registered / name).read_bytes() == (model / name).read_bytes() for name in names)


def test_nothing_is_written_when_the_registry_is_not_there(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(study), *CS, "--to", str(tmp_path / "model"), "--register-as", "czech"]) == 2
    assert "MLflow's database must be there, but" in capsys.readouterr().err
    assert not list(tmp_path.glob("*model*"))


def test_a_cell_becomes_a_folder_that_transcribes_as_it_was_tested(
    study: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(study), *CS, "--where", "weight=0", "--to", str(tmp_path / "models" / "cs")]) == 0
    assert "cs, fine-tuned, seed 1, test CER" in (told := capsys.readouterr()).out
    assert told.err == ""
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["cs"]

    (files,) = study.glob("trials/*/files")
    rows = parquet.read_table(files / "utterances.parquet").to_pylist()
    clips = [release / "cs" / "clips" / f"{row['id']}.wav" for row in rows]
    assert transcribe(["--model", str(tmp_path / "models" / "cs"), *map(str, clips)]) == 0
    texts = [line.partition("\t")[2] for line in capsys.readouterr().out.splitlines()]
    assert texts == [row["hypothesis"] for row in rows]
    assert any(texts)


def test_a_study_elsewhere_is_fetched(study: Path, tmp_path: Path) -> None:
    where = f"memory://{tmp_path.name}/tiny"
    remote = Storage.at(where)
    for path in sorted(study.rglob("*")):
        if path.is_file() and "checkpoints" not in path.parts:  # which a study would not have here
            remote.upload(path, str(path.relative_to(study)))
    assert main([where, *CS, "--to", str(tmp_path / "fetched")]) == 0
    assert main([str(study), *CS, "--to", str(tmp_path / "here")]) == 0
    for path in (tmp_path / "here").iterdir():
        assert (tmp_path / "fetched" / path.name).read_bytes() == path.read_bytes()


def test_the_card_says_what_the_model_is(study: Path, release: Path, tmp_path: Path) -> None:
    assert main([str(study), *CS, "--to", str(tmp_path / "cs")]) == 0
    front, text = card(tmp_path / "cs")
    (result,) = study.glob("trials/*/files/../result.json")
    metrics = json.loads(result.read_text())["metrics"]
    assert (front["language"], front["library_name"]) == ("cs", "transformers")
    assert front["pipeline_tag"] == "automatic-speech-recognition"
    assert front["metrics"] == ["cer", "wer"]
    assert front["license_name"] == "data-cc0-1.0"
    found = {m["type"]: m["value"] for r in front["model-index"][0]["results"] for m in r["metrics"]}
    assert found == {name: round(metrics[f"test/{name}"], 2) for name in ("cer", "wer")}
    assert f"| CER | {metrics['test/cer']:.2f} % | " in text
    assert "8 utterances" in text
    assert "Licence of the recordings: CC0-1.0." in text
    assert release.name in text
    assert "commit `c0ffee`" in text
    assert "trainables.whisper_ctc" not in text
    assert str(release) not in text + str(front)


def test_places_may_have_changed(study: Path, release: Path, models: Path, tmp_path: Path) -> None:
    moved = tmp_path / "study"
    shutil.copytree(study, moved)
    for path in moved.glob("trials/*/recipe.json"):
        path.write_text(path.read_text().replace(str(release), "/nowhere").replace(str(models / "wav2vec2"), "/none"))
    to = ("--to", str(tmp_path / "cs"))
    assert main([str(moved), *CS, *to, "--data", str(release)]) == 2
    assert main([str(moved), *CS, *to, "--student", str(models / "wav2vec2")]) == 2
    assert not (tmp_path / "cs").exists()
    assert main([str(moved), *CS, *to, "--data", str(release), "--student", str(models / "wav2vec2")]) == 0


def test_the_licence_is_that_of_the_sources_where_they_are_listed(tmp_path: Path) -> None:
    corpus = CommonVoice(root=str(testing.corpus(tmp_path / "release")), language="cs")
    assert corpus.licence() == "CC0-1.0"
    packages = [{"licence": "GPL-2"}, {"licence": "CC-BY-4.0"}, {"licence": "GPL-2"}]
    (tmp_path / "release" / "SOURCES.json").write_text(json.dumps({"packages": packages}))
    assert corpus.licence() == "CC-BY-4.0, GPL-2"
    with pytest.raises(ValueError, match="The data root must be a folder"):
        CommonVoice(root="/nowhere", language="cs").licence()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "One cell must be picked, but giving no field picks 4 of these:"),
        (("--language", "cs"), "One cell must be picked, but corpus.language=cs picks 2 of these:"),
        (("--weight", "0.5"), "One cell must be picked, but weight=0.5 picks none of these:"),
        (("--where", "colour=red"), "`where` must name fields of the recipe, but 'colour' is none."),
        (("--colour", "red"), "`where` must name fields of the recipe, but 'colour' is none."),
        (("--where", "weight"), "`where` must be FIELD=VALUE, but is 'weight' instead."),
        (("--where", "kind=ctc"), "`where` must name one field of the recipe, but 'kind' may be batching.kind or corp"),
        (("--seed",), "`--seed` must have a value, but has none."),
        (("--language", "cs", "--seed", "2"), "The cell must be finished, but cs, fine-tuned, seed 2 is failed: "),
        (("--corpus.language=ro", "--seed", "1"), "The cell must be finished, but ro, fine-tuned, seed 1 is not "),
    ],
)  # fmt: skip
def test_what_is_no_finished_cell_is_refused(
    study: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(study), *arguments, "--to", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert not (tmp_path / "model").exists()
    if arguments == ("--language", "cs"):
        assert error.splitlines()[1:] == [
            "  cs, fine-tuned, seed 1 (finished): seed=1",
            "  cs, fine-tuned, seed 2 (failed): seed=2",
        ]


def test_a_recipe_says_how_it_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys = Sweep("toys", [Toy(language="cs", seconds=0)], axes=("language",))
    ledger = Ledger.of(Storage.at(str(tmp_path / "runs")), toys)
    ledger.open(toys)
    ledger.begin(toys.trials[0])
    ledger.finish(toys.trials[0].signature, Result("finished", {}))
    study = str(tmp_path / "runs" / "toys")
    assert main([study, "--to", str(tmp_path / "model")]) == 2
    assert capsys.readouterr().err == "A recipe must say how it is exported, but Toy does not.\n"
    assert main([study, "--to", str(tmp_path / "model"), "--data", "elsewhere"]) == 2
    assert capsys.readouterr().err == "`data` must be the one place of the recipe's corpus, but cs 0 has 0.\n"
    assert not (tmp_path / "model").exists()


def test_nothing_is_written_over(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        assert main([str(study), *CS, "--to", str(tmp_path / name)]) == 2
        assert "`to` must be a folder that does not exist or is empty" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(study), *CS, "--to", str(tmp_path / "empty")]) == 0


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("study.json", "A study must have a study.json"),
        ("trials/*/files/student.safetensors", "A trial must have kept its student"),
        ("trials/*/files/utterances.parquet", "A trial must have kept its transcripts"),
    ],
)
def test_what_is_missing_in_a_study_is_said_and_leaves_nothing(
    study: Path, tmp_path: Path, file: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "study"
    shutil.copytree(study, broken)
    (path,) = broken.glob(file)
    path.unlink()
    assert main([str(broken), *CS, "--to", str(tmp_path / "model")]) == 2
    assert capsys.readouterr().err.startswith(sentence)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["study"]


@pytest.mark.parametrize(
    ("file", "text"),
    [("study.json", '{"format": 1}'), ("study.json", "{"), ("trials/*/recipe.json", '{"type": "a:b"}')],
)
def test_a_damaged_study_is_one_sentence(
    study: Path, tmp_path: Path, file: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "study"
    shutil.copytree(study, broken)
    next(iter(broken.glob(file))).write_text(text)
    assert main([str(broken), *CS, "--to", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("A study must be as this program wrote it, but ")
    assert error.count("\n") == 1
