"""The benchmarks' material: noise of the lengths that Common Voice's clips have, models with random weights."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Wav2Vec2Config, Wav2Vec2Model
from typing_extensions import override

from benchmarks.ratios import device
from trainables.batch import Batch
from trainables.config import Config
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import ByCount, Loader
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import FeatureSource, Tokens
from trainables.corpora.text import CharacterVocabulary
from trainables.optimisation import Optimisation
from trainables.recipes.distill_l2s import DistillL2S, DistillL2STask
from trainables.run import Run
from trainables.stages import Last, Stages
from trainables.students.ctc import CTCStudent, Pretrained
from trainables.teachers.features import CachedFeatures
from trainables.teachers.language_model import LanguageModel
from trainables.training import World, fit

MEDIAN, SPREAD, SHORTEST, LONGEST = 5.0, 0.35, 1.0, 10.0
"""Seconds of a clip: log-normal, cut."""
CHARACTERS_PER_SECOND = 12
HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\tlocale\tsegment\n"


@dataclass(frozen=True)
class Shape:
    """Sizes of a student, a wav2vec 2.0 with XLSR's layer norms, and of its teacher, a BERT."""

    layers: int
    width: int
    convolutions: int
    teacher_layers: int
    teacher_width: int

    def __str__(self) -> str:
        return (
            f"wav2vec 2.0 of {self.layers} x {self.width} under convolutions of {self.convolutions}, "
            f"BERT of {self.teacher_layers} x {self.teacher_width}"
        )


XLSR_LARGE = Shape(24, 1024, 512, 12, 768)
"""The paper's student and teacher (§3.2, §3.3)."""
SMALL = Shape(6, 384, 64, 12, 384)
"""A student for CPUs: the miniature's width, and light convolutions, which nobody here could make quicker."""
HEAD = 64
"""Features of an attention head."""


@dataclass(frozen=True)
class Size:
    """The sizes of a repeat."""

    shape: Shape
    clips: int
    batch: int
    steps: int


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a block, and put back those that were there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, which holds the cache folder meanwhile."""
    with tempfile.TemporaryDirectory(prefix="l2s-benchmark-") as folder, environment(L2S_CACHE=f"{folder}/cache"):
        yield Path(folder)


def lengths(clips: int, seed: int = 0) -> np.ndarray:
    """The seconds of so many clips, (clips,)."""
    drawn = np.random.default_rng(seed).lognormal(np.log(MEDIAN), SPREAD, clips)
    return np.clip(drawn, SHORTEST, LONGEST)


def text(seconds: float, random: np.random.Generator) -> str:
    """A transcript of the usual length, of words that mean nothing."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < seconds * CHARACTERS_PER_SECOND:
        words.append("".join(random.choice(list("abcdefghijklmnoprstuvz"), size=random.integers(2, 9))))
    return " ".join(words)


def release(root: Path, clips: int, *, suffix: str = "wav", rate: int = SAMPLE_RATE) -> CommonVoice:
    """A release of noise with a training split of `clips` clips and a clip in each of the others."""
    folder, random = root / "cs", np.random.default_rng(1)
    (folder / "clips").mkdir(parents=True)
    for name, count in (("train", clips), ("dev", 1), ("test", 1)):
        rows = [HEADER]
        for i, seconds in enumerate(lengths(count)):
            noise = 0.1 * random.standard_normal(int(seconds * rate))
            soundfile.write(folder / "clips" / f"{name}_{i}.{suffix}", noise.astype(np.float32), rate)
            rows.append(f"speaker{i % 50}\t{name}_{i}.{suffix}\t{text(seconds, random)}\t2\t0\t\t\t\tcs\t\n")
        (folder / f"{name}.tsv").write_text("".join(rows), encoding="utf-8")
    return CommonVoice(root=str(root), language="cs")


def student(folder: Path, shape: Shape) -> Path:
    """Make a speech encoder's checkpoint."""
    config = Wav2Vec2Config(
        hidden_size=shape.width, num_hidden_layers=shape.layers, num_attention_heads=max(1, shape.width // HEAD),
        intermediate_size=4 * shape.width, conv_dim=(shape.convolutions,) * 7, feat_extract_norm="layer",
        do_stable_layer_norm=True, conv_bias=True,
    )  # fmt: skip
    torch.manual_seed(0)
    Wav2Vec2Model(config).save_pretrained(folder)
    return folder


def teacher(folder: Path, shape: Shape, sentences: list[str]) -> Path:
    """Make a text encoder's checkpoint; each word of `sentences` is one token."""
    pieces = ["<s>", "</s>", "<unk>", "<pad>", *sorted({word for sentence in sentences for word in sentence.split()})]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        model_max_length=512,
    ).save_pretrained(folder)  # fmt: skip
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=shape.teacher_width, num_hidden_layers=shape.teacher_layers,
        num_attention_heads=max(1, shape.teacher_width // HEAD), intermediate_size=4 * shape.teacher_width,
        pad_token_id=3,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Material:
    """A cell that is ready to train: its training split is prepared, its teacher's features are cached."""

    recipe: DistillL2S
    train: PreparedSplit
    vocabulary: CharacterVocabulary
    features: FeatureSource

    @classmethod
    def of(cls, folder: Path, shape: Shape, *, clips: int, batch: int, steps: int, shares: int = 1) -> "Material":
        """Made in `folder`, with `clips` to train on, of which `batch` make a step."""
        corpus = release(folder / "release", clips)
        base = DistillL2S(
            corpus=corpus,
            student=CTCStudent(encoder=Pretrained(model=str(student(folder / "student", shape)))),
            teacher=LanguageModel(model=str(folder / "teacher")),
            batching=ByCount(utterances=batch),
            # So small a rate that it is the same model in all repeats.
            optimisation=Optimisation(steps=steps, warmup=0, learning_rate=1e-9, evaluate_every=steps, shares=shares),
        )
        train = PreparedSplit(base.split("train").build())
        teacher(folder / "teacher", shape, train.texts)
        features = base.features()
        assert features is not None
        return cls(base, train, CharacterVocabulary.of(train.texts), CachedFeatures(features.build()))

    def task(self, weight: float) -> DistillL2STask:
        """The student with its losses, at λ = `weight`."""
        torch.manual_seed(0)
        return self.recipe.model_copy(update={"weight": weight}).task(self.vocabulary, self.train.texts)

    def loader(self, weight: float) -> Loader:
        """The loader of the training split's batches, with the teacher's features where λ is not 0."""
        sources: dict[str, FeatureSource] = {"tokens": Tokens(self.train, self.vocabulary)}
        return Loader(self.train, sources | ({"teacher": self.features} if weight else {}), self.recipe.masking)

    def batches(self, weight: float, seed: int, world: World) -> Callable[[int], Iterator[list[Batch]]]:
        """The micro-batches of one worker from a step on, as `fit` takes them."""
        optimisation, loader = self.recipe.optimisation, self.loader(weight)
        mine = optimisation.shares_of(world.rank, world.size)
        return lambda step: loader.training(
            self.recipe.batching, seed=seed, start=step, shares=optimisation.shares, mine=mine
        )

    @staticmethod
    def world() -> World:
        """One worker on the device at hand."""
        return World(0, 1, device())

    def bfloat16(self) -> bool:
        """Whether the device at hand trains in bfloat16."""
        with self.world().precision(self.recipe.optimisation.precision):
            return torch.is_autocast_enabled(device().type)

    def throughput(
        self,
        task: DistillL2STask,
        batches: Callable[[int], Iterator[list[Batch]]],
        world: World | None = None,
    ) -> float:
        """Audio-seconds per second of `fit` on these batches, until its one evaluation begins."""
        return self.reported(task, batches, world)["audio_seconds_per_second"]

    def reported(
        self,
        task: DistillL2STask,
        batches: Callable[[int], Iterator[list[Batch]]],
        world: World | None = None,
    ) -> dict[str, float]:
        """The metrics that `fit` reports of these batches; its speeds until its one evaluation begins."""
        reported = Reports()
        fit(
            task, stages=Stages(reported, {"training": self.recipe.optimisation}), stage="training", train=batches,
            valid=lambda: islice(self.loader(0).evaluation(seconds=10, rank=0, world_size=1), 1),
            selection=Last(), seed=0, world=world or self.world(),
        )  # fmt: skip
        return reported.metrics


class Reports(Run):
    """A run that keeps what was reported last, and no checkpoint."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    @override
    def report(self, metrics: object, *, step: int, checkpoint: Path | None = None) -> None:
        assert isinstance(metrics, dict)
        self.metrics = metrics

    @override
    def resume(self) -> Path | None:
        return None

    @override
    def keep(self, file: Path) -> None:
        pass

    @override
    def needed(self, recipe: Config) -> Path:
        raise ValueError("Nothing is needed here.")
