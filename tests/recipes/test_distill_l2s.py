import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pyarrow import parquet
from safetensors import safe_open

from trainables.batch import Batch
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import Batching, ByCount, BySeconds
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.subsets import Subset
from trainables.losses.regression import AlignedRegression
from trainables.losses.transport import OptimalTransport
from trainables.recipes import probe
from trainables.recipes.distill_l2s import DistillL2S, DistillL2STask
from trainables.run import LocalRun
from trainables.teachers.language_model import RandomLanguageModel
from trainables.teachers.variants import ShuffledTranscripts, TrainedAlong
from trainables.training import Losses


@pytest.fixture
def nowhere(recipe: DistillL2S) -> DistillL2S:
    """The recipe without its corpus."""
    corpus = recipe.corpus.model_copy(update={"root": "/nowhere"})
    return recipe.model_copy(update={"corpus": corpus})


def controls(recipe: DistillL2S) -> dict[str, DistillL2S]:
    """The recipe with other teachers and another loss, by what tells each from the paper's."""
    model = recipe.teacher.model
    changes: dict[str, dict[str, object]] = {
        "": {},
        ", random teacher": {"teacher": RandomLanguageModel(model=model)},
        ", shuffled transcripts": {"teacher": ShuffledTranscripts(model=model)},
        ", random teacher trained along, no bias": {
            "teacher": TrainedAlong(model=model), "distillation": AlignedRegression(bias=False),
        },
        ", optimal transport, ε = 0.1": {"distillation": OptimalTransport()},
    }  # fmt: skip
    return {label: recipe.model_copy(update=change) for label, change in changes.items()}


def test_its_label_tells_controls_apart_where_a_teacher_takes_part(nowhere: DistillL2S) -> None:
    for label, control in controls(nowhere).items():
        assert str(control) == f"cs, distilled, λ = 0.5{label}, seed 1"
        assert str(control.model_copy(update={"weight": 0.0})) == "cs, fine-tuned, seed 1"


def test_only_a_teacher_that_is_trained_along_prepares_nothing(nowhere: DistillL2S) -> None:
    last = [str(control.preparations()[-1]) for control in controls(nowhere).values()]
    assert last == ["cs train teacher", "cs train random teacher, seed 1", "cs train teacher", "cs test", last[0]]


def test_a_teacher_that_is_trained_along_learns_at_the_encoders_rate(nowhere: DistillL2S) -> None:
    recipe = controls(nowhere)[", random teacher trained along, no bias"]
    optimisation = recipe.optimisation.model_copy(update={"new_learning_rate": 0.5})
    task = recipe.task(probe.VOCABULARY)
    assert task.online is not None
    assert task.distillation is not None
    base, new = optimisation.build(task, task.groups(optimisation)).param_groups
    trainable = [p for m in (task.student.encoder, task.online) for p in m.parameters() if p.requires_grad]
    assert [id(p) for p in base["params"]] == [id(p) for p in trainable]
    assert [id(p) for p in new["params"]] == [
        id(p) for p in (*task.student.head.parameters(), *task.distillation.parameters())
    ]
    assert (base["peak"], new["peak"]) == (1e-3, 0.5)
    before = {name: value.clone() for name, value in task.online.state_dict().items()}
    batches = probe.noise(recipe.batching, longest=2.0, shares=1, masking=recipe.masking, teacher=None)
    probe.seconds_per_step(task, batches, optimisation)
    changed = [name for name, value in task.online.state_dict().items() if not torch.equal(value, before[name])]
    assert {"encoder.embeddings.word_embeddings.weight", "encoder.encoder.layer.1.output.dense.weight"} <= {*changed}


def test_the_student_begins_the_same_whatever_the_teacher(nowhere: DistillL2S) -> None:
    heads = []
    for control in controls(nowhere).values():
        torch.manual_seed(1)
        heads.append(control.task(probe.VOCABULARY).student.head.weight)
    assert all(torch.equal(head, heads[0]) for head in heads)


def test_every_control_trains_and_has_a_loss_of_its_own(recipe: DistillL2S, tmp_path: Path) -> None:
    optimisation = recipe.optimisation.model_copy(update={"steps": 5})
    distances = set()
    for i, control in enumerate(controls(recipe.model_copy(update={"optimisation": optimisation})).values()):
        run = LocalRun(tmp_path / str(i))
        assert control.run(run)["test/cer"] >= 0
        distances.add(run.metrics()[0]["train/distillation"])
    assert len(distances) == 5


def test_a_subset_is_all_that_is_trained_on_and_shares_what_is_prepared(
    recipe: DistillL2S, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = recipe.model_copy(update={"subset": Subset(count=9, index=2)})
    assert str(few) == "cs, 9 no. 2, distilled, λ = 0.5, seed 1"
    assert few.signature() != recipe.signature()
    assert [p.signature() for p in few.preparations()] == [p.signature() for p in recipe.preparations()]
    drawn: set[int] = set()
    forward = DistillL2STask.forward

    def noted(self: DistillL2STask, batch: Batch) -> Losses:
        drawn.update(batch.indices)
        return forward(self, batch)

    monkeypatch.setattr(DistillL2STask, "forward", noted)
    run = LocalRun(tmp_path / "run")
    few.run(run)
    train = PreparedSplit(few.split("train").folder())
    assert sorted(drawn) == Subset(count=9, index=2).indices(train).tolist()
    audited = json.loads((run.folder / "audit.json").read_text())["train"]
    assert (audited["utterances"], audited["quarantined"]) == (9, {})


def test_a_subset_smaller_than_a_batch_is_refused_before_a_step(recipe: DistillL2S, tmp_path: Path) -> None:
    few = recipe.model_copy(update={"subset": Subset(share=0.2)})
    with pytest.raises(ValueError, match=r"must have at least one batch, but 20 % no\. 0 has 5 utterances"):
        few.run(LocalRun(tmp_path / "run"))


def test_its_steps_are_the_schedules(nowhere: DistillL2S) -> None:
    assert nowhere.steps == 20


def test_it_keeps_the_best_student_and_what_it_recognised(recipe: DistillL2S, tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "run")
    result = recipe.run(run)
    checkpoint = run.resume()
    assert checkpoint is not None
    best = torch.load(checkpoint / "state.pt", weights_only=True)["best_student"]
    with safe_open(run.folder / "student.safetensors", framework="pt") as kept:
        assert set(kept.keys()) == {*best, "encoder.encoder.embed_positions.weight"}  # which is frozen
        assert all(torch.equal(kept.get_tensor(name), value) for name, value in best.items())
        vocabulary = json.loads(kept.metadata()["vocabulary"])
    assert len(vocabulary) == len(best["head.bias"])
    assert vocabulary[-2:] == ["[UNK]", "[PAD]"]

    rows = parquet.read_table(run.folder / "utterances.parquet").to_pylist()
    test = PreparedSplit(recipe.split("test").folder())
    assert [(row["id"], row["speaker"], row["reference"]) for row in rows] == [
        *zip(test.ids, test.speakers, test.texts, strict=True)
    ]
    for unit, rate, length in (("char", "cer", len), ("word", "wer", lambda text: len(text.split()))):
        edits = sum(row[f"{unit}_{e}"] for row in rows for e in ("substitutions", "deletions", "insertions"))
        assert [length(row["reference"]) for row in rows] == [row[f"{rate}_length"] for row in rows]
        assert edits == sum(row[f"{rate}_errors"] for row in rows)
        assert 100 * edits / sum(row[f"{rate}_length"] for row in rows) == result[f"test/{rate}"]
    for row in rows:
        assert row["frames"] == pytest.approx(50 * row["seconds"], abs=1)
        assert len(row["hypothesis"]) <= row["nonblank_frames"] <= row["frames"]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_probe_needs_no_corpus_and_prepares_nothing(nowhere: DistillL2S, cache: Path, weight: float) -> None:
    for control in controls(nowhere).values():
        assert 0 < control.model_copy(update={"weight": weight}).probe()["seconds"] < 60
    assert not cache.exists()


def test_a_probe_of_a_teacher_that_is_trained_along_has_it_read(nowhere: DistillL2S) -> None:
    online = controls(nowhere)[", random teacher trained along, no bias"].task(probe.VOCABULARY).online
    assert online is not None
    parts = [
        probe.noise(nowhere.batching, longest=2.0, shares=1, masking=nowhere.masking, teacher=teacher)[0]
        for teacher in (None, 12)
    ]
    assert "teacher" not in parts[0].sources
    # This tokenizer has a token for the space too.
    assert online(parts[0].texts).lengths.tolist() == [
        2 + 2 * (n - 2) for n in parts[1].sources["teacher"].lengths.tolist()
    ]


def test_a_probe_is_the_median_after_the_warm_up(nowhere: DistillL2S, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock is read before and after each step: 3 slow ones, then 5 of which one was disturbed.
    durations = iter([9.0, 8.0, 7.0, 1.0, 2.0, 3.0, 50.0, 2.5])
    state = {"now": 0.0}
    reads = count()

    def clock() -> float:
        state["now"] += next(durations) if next(reads) % 2 else 0
        return state["now"]

    monkeypatch.setattr(probe, "time", SimpleNamespace(perf_counter=clock))
    assert nowhere.probe()["seconds"] == 2.5


@pytest.mark.parametrize(
    ("batching", "utterances", "seconds"), [(ByCount(utterances=5), 5, 5.0), (BySeconds(seconds=12), 3, 4.0)]
)
@pytest.mark.parametrize(("weight", "shares"), [(0.5, 1), (0.5, 3), (0.0, 7)])
def test_a_probes_batch_is_as_large_as_a_usual_one(
    nowhere: DistillL2S, monkeypatch: pytest.MonkeyPatch, batching: Batching, utterances: int, seconds: float,
    weight: float, shares: int,
) -> None:  # fmt: skip
    steps: list[list[Batch]] = []
    monkeypatch.setattr(probe, "train_step", lambda _model, _optimiser, batches, **_: steps.append(batches))
    optimisation = nowhere.optimisation.model_copy(update={"shares": shares})
    nowhere.model_copy(update={"batching": batching, "weight": weight, "optimisation": optimisation}).probe()
    assert len(steps) == probe.WARM_UP + probe.MEASURED
    (batches,) = {id(step): step for step in steps}.values()
    assert len(batches) == shares
    assert sum(int((batch.scale > 0).sum()) for batch in batches) == utterances
    assert sum(float(batch.scale.sum()) for batch in batches) == pytest.approx(1)
    for batch in batches:
        assert set(batch.audio.lengths.tolist()) == {int(seconds * SAMPLE_RATE)}
        assert batch.audio.values.std() > 0.05
        assert batch.masked is not None
        assert ("teacher" in batch.sources) == (weight > 0)
        if teacher := batch.sources.get("teacher"):
            assert teacher.values.shape[2] == nowhere.teacher.features()


def test_a_probe_trains_a_head_of_40_outputs(nowhere: DistillL2S) -> None:
    assert len(set(probe.VOCABULARY.tokens)) == 40
    task = nowhere.task(probe.VOCABULARY)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    batches = probe.noise(nowhere.batching, longest=2.0, shares=1, masking=nowhere.masking, teacher=12)
    probe.seconds_per_step(task, batches, nowhere.optimisation)
    changed = {name for name, value in task.state_dict().items() if not torch.equal(value, before[name])}
    assert {"student.head.weight", "distillation.projection.weight"} <= changed
    assert task.student.head.out_features == 40
