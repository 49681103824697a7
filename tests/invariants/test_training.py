"""What must not change a result: resuming, shares, workers, the cache of the teacher."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jiwer
import pytest
import torch
from pyarrow import parquet

from tests.interrupted import Interrupted, InterruptedRun
from trainables import testing
from trainables.corpora.batching import ByCount, Loader, TimeMasking
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import Tokens
from trainables.corpora.text import CharacterVocabulary
from trainables.decoding.greedy import greedy
from trainables.metrics import Scores, transcription
from trainables.optimisation import Optimisation
from trainables.recipes.distill_l2s import DistillL2S, DistillL2STask
from trainables.run import LocalRun
from trainables.students.ctc import CTCStudent, Pretrained, Regularisation, Scratch
from trainables.teachers.features import CachedFeatures
from trainables.teachers.language_model import LanguageModel, RandomLanguageModel
from trainables.teachers.variants import TrainedAlong
from trainables.testing import OnlineFeatures
from trainables.training import NonFiniteLoss, World


def final_weights(run: LocalRun) -> dict[str, torch.Tensor]:
    checkpoint = run.resume()
    assert checkpoint is not None
    state = torch.load(checkpoint / "state.pt", weights_only=True)
    assert state["step"] == 20
    return {**state["task"], **{f"best.{k}": v for k, v in state["best_student"].items()}}


def changed(recipe: DistillL2S, **changes: object) -> DistillL2S:
    return recipe.model_copy(update={"optimisation": recipe.optimisation.model_copy(update=changes)})


def of_encoder(recipe: DistillL2S, encoder: Pretrained | Scratch) -> DistillL2S:
    return recipe.model_copy(update={"student": recipe.student.model_copy(update={"encoder": encoder})})


def regularised(recipe: DistillL2S, models: Path, layerdrop: float = 0.1) -> DistillL2S:
    """With dropout and layerdrop: their draws too must not change."""
    regularisation = Regularisation(layers=layerdrop)
    student = CTCStudent(encoder=Pretrained(model=str(models / "whisper")), regularisation=regularisation)
    return recipe.model_copy(update={"student": student})


def trained_along(recipe: DistillL2S) -> DistillL2S:
    """With a teacher whose weights and dropout are part of the training."""
    return recipe.model_copy(update={"teacher": TrainedAlong(model=recipe.teacher.model)})


def losses(run: LocalRun) -> list[float]:
    return [m["train/loss"] for m in run.metrics() if "train/loss" in m]


@pytest.mark.parametrize("along", [False, True], ids=["frozen", "trained along"])
def test_resumed_is_uninterrupted(recipe: DistillL2S, models: Path, tmp_path: Path, along: bool) -> None:
    recipe = regularised(trained_along(recipe) if along else recipe, models)
    whole, parts = LocalRun(tmp_path / "whole"), tmp_path / "parts"
    undisturbed = recipe.run(whole)
    for at in (5, 15):
        with pytest.raises(Interrupted):
            recipe.run(InterruptedRun(parts, at))
    assert recipe.run(LocalRun(parts)) == undisturbed
    first, second = final_weights(whole), final_weights(LocalRun(parts))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("encoder", ["whisper", "wav2vec2-base", "data2vec-audio"])
def test_shares_are_the_whole_batch(recipe: DistillL2S, tmp_path: Path, encoder: str) -> None:
    folder = testing.speech_encoder(encoder, tmp_path / encoder, final_dropout=0.0)
    recipe = of_encoder(recipe, Scratch(model=str(folder)))
    runs = [LocalRun(tmp_path / str(shares)) for shares in (1, 3, 4)]
    for run, shares in zip(runs, (1, 3, 4), strict=True):
        changed(recipe, shares=shares, evaluate_every=1).run(run)
    first, *others = map(losses, runs)
    assert len(first) == 20
    for other in others:
        assert other == pytest.approx(first, abs=1e-5)


def run_by_two(recipes: Mapping[Path, DistillL2S]) -> list[dict[str, float]]:
    """The results of recipes under torchrun, each in a folder of its own."""
    pairs = []
    for folder, recipe in recipes.items():
        file = folder.with_suffix(".json")
        file.write_text(json.dumps({"type": recipe.type_name(), "fields": recipe.model_dump(mode="json")}))
        pairs += [str(file), str(folder)]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend",
        "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "tests.invariants.in_turn", *pairs,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_two_workers_are_one(recipe: DistillL2S, models: Path, tmp_path: Path) -> None:
    # Batches of 5 and one of 4, in shares of unequal size; with 3 shares, one worker has two and the other one.
    # Several batches of evaluation, so that both workers have some. AdamW forgets the scale of a gradient, but
    # for the steps that are clipped among steps that are not.
    recipe = recipe.model_copy(update={"batching": ByCount(utterances=5), "evaluation_seconds": 3.0})
    # Without layerdrop, and with a frozen teacher, the workers do not look for parameters that a step leaves out.
    cases = [(2, False, 0.1), (3, False, 0.1), (3, True, 0.1), (3, False, 0.0)]
    recipes = {
        tmp_path / f"{shares} {along} {layerdrop:.0%}": changed(
            regularised(trained_along(recipe) if along else recipe, models, layerdrop), shares=shares, clip=12.0
        )
        for shares, along, layerdrop in cases
    }
    results = {folder: chosen.run(LocalRun(tmp_path / "alone" / folder.name)) for folder, chosen in recipes.items()}
    for folder, result in zip(recipes, run_by_two(recipes), strict=True):
        assert result == pytest.approx(results[folder]), folder
        alone, together = LocalRun(tmp_path / "alone" / folder.name), LocalRun(folder)
        assert losses(together) == pytest.approx(losses(alone), abs=1e-5), folder
        first, second = final_weights(alone), final_weights(together)
        assert first.keys() == second.keys()
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=0, atol=1e-5, msg=f"{folder} {name}")
        # What was recognised comes from both workers, in the split's order.
        tables = [parquet.read_table(run.folder / "utterances.parquet") for run in (alone, together)]
        assert tables[0].num_rows == 8
        assert tables[0].equals(tables[1]), folder


def test_shares_that_no_utterance_is_left_for_change_nothing(recipe: DistillL2S, tmp_path: Path) -> None:
    whole, parts = LocalRun(tmp_path / "whole"), LocalRun(tmp_path / "parts")
    for run, shares in ((whole, 1), (parts, 8)):
        changed(recipe, shares=shares).run(run)
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-5)


def test_more_workers_than_shares_are_refused_before_anything_is_made(
    recipe: DistillL2S, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "here", lambda: World(0, 2, torch.device("cpu")))
    sentence = "`optimisation.shares` must be at least the number of workers, which is 2, but is 1 instead."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        recipe.run(LocalRun(tmp_path / "run"))
    assert not cache.exists()


@pytest.mark.parametrize("kind", [LanguageModel, RandomLanguageModel])
def test_cached_teacher_is_the_online_one(recipe: DistillL2S, kind: type[LanguageModel | RandomLanguageModel]) -> None:
    teacher = kind(model=recipe.teacher.model)
    recipe = recipe.model_copy(update={"teacher": teacher})
    *_, features = [preparation.build() for preparation in recipe.preparations()]
    train = PreparedSplit(recipe.split("train").folder())
    vocabulary = CharacterVocabulary.of(train.texts)
    sources = CachedFeatures(features), OnlineFeatures(teacher.build(), train)
    histories = []
    for source in sources:
        torch.manual_seed(1)
        task = recipe.task(vocabulary)
        optimiser = torch.optim.SGD(task.parameters(), lr=0.05)
        loader = Loader(train, {"tokens": Tokens(train, vocabulary), "teacher": source})
        steps = loader.training(recipe.batching, seed=1, start=0, shares=1, mine=(0,))
        history = []
        for (batch,), _ in zip(steps, range(20), strict=False):
            loss = task(batch)
            loss.total.backward()
            optimiser.step()
            optimiser.zero_grad()
            history.append(float(loss.terms["distillation"].detach()))
        histories.append(history)
    # The cache holds half precision: 11 bits.
    assert histories[0] == pytest.approx(histories[1], rel=2e-3)


def test_the_teacher_is_never_touched(recipe: DistillL2S) -> None:
    teacher = recipe.teacher.build()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    train = PreparedSplit(recipe.split("train").build())
    vocabulary = CharacterVocabulary.of(train.texts)
    task = recipe.task(vocabulary)
    task.teacher = teacher  # as close to training as a teacher can get
    task.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    optimiser = torch.optim.AdamW(task.parameters(), lr=0.1)
    loader = Loader(train, {"tokens": Tokens(train, vocabulary), "teacher": OnlineFeatures(teacher, train)})
    steps = loader.training(recipe.batching, seed=1, start=0, shares=1, mine=(0,))
    for (batch,), _ in zip(steps, range(3), strict=False):
        task(batch).total.backward()
        optimiser.step()
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())


def test_ten_utterances_are_learned_by_heart(recipe: DistillL2S, release: Path, tmp_path: Path) -> None:
    testing.corpus(tmp_path / "ten", "cs", sizes=(10, 1, 1))
    testing.whisper(tmp_path / "whisper", width=64)
    corpus = recipe.corpus.model_copy(update={"root": str(tmp_path / "ten")})
    optimisation = Optimisation(
        steps=250,
        warmup=25,
        learning_rate=2e-3,
        new_learning_rate=5e-3,
        evaluate_every=250,
        precision="float32",
    )
    recipe = of_encoder(recipe, Pretrained(model=str(tmp_path / "whisper"))).model_copy(
        update={
            "corpus": corpus, "optimisation": optimisation, "batching": ByCount(utterances=10),
            "masking": TimeMasking(probability=0), "weight": 0.25,
        }
    )  # fmt: skip
    run = LocalRun(tmp_path / "run")
    recipe.run(run)
    train = PreparedSplit(recipe.split("train").folder())
    vocabulary = CharacterVocabulary.of([*train.texts, *PreparedSplit(recipe.split("valid").folder()).texts])
    task = recipe.task(vocabulary)
    checkpoint = run.resume()
    assert checkpoint is not None
    task.restore(torch.load(checkpoint / "state.pt", weights_only=True)["task"])
    task.eval()
    rates = task.evaluate(Loader(train).evaluation(seconds=60, rank=0, world_size=1))
    assert rates == {"cer": 0, "wer": 0}


def test_cer_is_jiwers_on_the_whole_corpus(recipe: DistillL2S) -> None:
    test = PreparedSplit(recipe.split("test").build())
    vocabulary = CharacterVocabulary.of(test.texts)
    torch.manual_seed(3)
    task: DistillL2STask = recipe.task(vocabulary).eval()
    scores, hypotheses, references = [Scores(("cer", "wer")), Scores(("cer", "wer"))], [], []
    for rank in (0, 1):
        for batch in Loader(test).evaluation(seconds=3, rank=rank, world_size=2):
            logits = task.student(batch).logits
            texts = greedy(logits.values.argmax(dim=2), logits.lengths, vocabulary)
            references += batch.texts
            hypotheses += texts
            scores[rank].add(batch, texts, transcription(batch.texts, texts))
    together = Scores(("cer", "wer"), [*scores[0].rows, *scores[1].rows])
    assert sorted(references) == sorted(test.texts)
    assert together.rates()["cer"] == pytest.approx(100 * jiwer.cer(references, hypotheses))
    assert together.rates()["wer"] == pytest.approx(100 * jiwer.wer(references, hypotheses))


def test_divergence_is_reported_early(recipe: DistillL2S, tmp_path: Path) -> None:
    recipe = changed(recipe, learning_rate=1e30, evaluate_every=5)
    with pytest.raises(NonFiniteLoss, match="must be a finite number, but was nan by step 5"):
        recipe.run(LocalRun(tmp_path / "run"))
