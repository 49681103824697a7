from pathlib import Path

from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study, Submission
from sweeps.commonvoice20 import Options
from sweeps.commonvoice20 import study as commonvoice20
from trainables import testing


def submit(options: Options, storage: Storage, cer: float) -> Study:
    """A study whose missing trials all end with this rate."""
    sweep, layout = commonvoice20(options)
    ledger = Ledger.of(storage, sweep)
    ledger.open(sweep)
    Submission.of(sweep, layout, "the command").write(ledger.storage)
    found = ledger.results([trial.signature for trial in sweep.trials])
    for trial in sweep.trials:
        if trial.signature not in found:
            ledger.begin(trial)
            ledger.finish(trial.signature, Result("finished", {"test/cer": cer}))
    return Study.read(ledger)


def rates(study: Study, language: str) -> list[float]:
    return [
        study.results[t.signature].metrics["test/cer"] for t in study.trials if t.fields["corpus.language"] == language
    ]


def test_what_was_found_on_data_that_has_changed_is_replaced(models: Path, tmp_path: Path) -> None:
    for language in ("cs", "ro"):
        testing.corpus(tmp_path / "release", language, sizes=(4, 2, 2))
    storage = Storage.at(str(tmp_path / "runs"))
    options = Options(
        preset="mini", data=tmp_path / "release", student=str(models / "whisper"), teacher=str(models / "bert"),
        languages=("cs", "ro"), weights=(0.0, 0.5),
    )  # fmt: skip
    assert rates(submit(options, storage, 50.0), "cs") == [50.0] * 3
    rows = (tmp_path / "release/cs/train.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "release/cs/train.tsv").write_text("".join(rows[:-1]))
    both = submit(options, storage, 10.0)
    assert rates(both, "cs") == [10.0] * 3, "no mean of the two"
    assert rates(both, "ro") == [50.0] * 3, "whose data is what it was"
    more = submit(options.model_copy(update={"languages": ("ro",), "weights": (0.0, 0.5, 1.0)}), storage, 5.0)
    assert (rates(more, "cs"), rates(more, "ro")) == ([10.0] * 3, [50.0, 50.0, 50.0, 5.0]), "other cells stay"
