"""Wang, Tang et al., *Exploring Effective Distillation of Self-Supervised Speech Models for Automatic Speech
Recognition* (arXiv 2210.15631): the distillation of a speech model into a small student, from audio alone.

L = λ_reg L_reg + λ_disc L_disc (eq. 3), and for a student on filter banks L_frontend before that (eq. 5). What is made
of a student with transcripts is `finetune_ctc.py`.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from trainables.cache import write_atomically
from trainables.config import Preparation, Where
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import Batching, ByCount, Loader
from trainables.corpora.corpus import Corpus
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.sources import FeatureSource, Waveforms
from trainables.losses.prediction_heads import Heads, LayerToLayer
from trainables.losses.unit_heads import Logits, UnitHeads
from trainables.optimisation import Linear, Optimisation
from trainables.recipes import probe
from trainables.recipes.distil_hubert_task import NEARNESS, DistilHubertTask, DroppedHeads, Objective
from trainables.recipes.one_stage import fit_on
from trainables.recipes.recipe import Recipe
from trainables.run import Run
from trainables.stages import Last
from trainables.students.ctc import Regularisation
from trainables.students.distilled import DISTILLATION, DeepThin, DistilledStudent
from trainables.students.encoders import SpeechEncoder
from trainables.students.moments import FilterBankMoments, moments
from trainables.students.states import State
from trainables.teachers.clusters import ClusterPreparation, Clusters
from trainables.teachers.features import CachedFeatures
from trainables.teachers.heard import HEARD, Hears, OwnClip
from trainables.teachers.hidden_units import HiddenUnits
from trainables.teachers.speech import SpeechTeacher
from trainables.teachers.states import Online, OnlineInTraining, StatePreparation, Targets
from trainables.training import World

STUDENT, DISTILLED = "student.safetensors", "distilled.json"
"""Files that a trial keeps: the student's weights, and how near it came to its teacher on the validation split."""

CROP = 250_000 / SAMPLE_RATE
"""Seconds."""
DISTILHUBERTS = Optimisation(
    steps=25_000, warmup=1_750, schedule=Linear(), learning_rate=2e-4, epsilon=1e-6, weight_decay=1e-6, clip=5.0,
    evaluate_every=2_500,
)  # fmt: skip


class DistilHubert(Recipe, Objective):
    """One student of Table 2, before it is fine-tuned: a structure, a front-end, and the weights of two losses."""

    kind: Literal["distil_hubert"] = "distil_hubert"
    corpus: Corpus
    """Speech in `train`, and in `valid` to see how near the student comes; transcripts are not read."""
    teacher: SpeechTeacher
    hears: Hears = OwnClip()
    """What the teacher hears; another clip than the student is a control of what it says."""
    student: DistilledStudent = DeepThin()
    heads: Heads = LayerToLayer()
    unit_head: UnitHeads = Logits()
    """What p_s is computed by, and compared by (eq. 4; the released code names three types)."""
    clusters: Clusters = Clusters()
    """Hidden units of a teacher that comes without its own."""
    special_units: Literal["kept", "left_out"] = "kept"
    """HuBERT's label embeddings are 504: 500 clusters after four special entries of fairseq's dictionary, which are no
    frame's label, and get a share of p_t all the same (the released code)."""
    targets: Targets = Online()
    crop: Annotated[float | None, Field(gt=0)] = CROP
    """Seconds; of longer clips a random stretch is taken (250 000 samples in s3prl)."""
    longest_clip: Annotated[float, Field(gt=0)] = 40.0
    """Seconds; longer clips are left out."""
    batching: Batching = ByCount(utterances=24)
    optimisation: Optimisation = DISTILHUBERTS
    """DistilHuBERT's (§4.1); the steps of eq. 5's first case are among them."""
    evaluation_seconds: Annotated[float, Field(gt=0), Where()] = 240.0
    """Padded seconds in one batch of evaluation."""
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _can_be(self) -> "DistilHubert":
        if self.front_end_steps >= self.optimisation.steps:
            raise ValueError(
                f"`front_end_steps` must be less than all steps, {self.optimisation.steps}, "
                f"but is {self.front_end_steps} instead."
            )
        if self.front_end_steps and not self._on_filter_banks:
            raise ValueError("`front_end_steps` must be 0 for a student on its teacher's front-end, which has it.")
        if self.special_units == "left_out" and not self.teacher.special:
            raise ValueError(
                "`special_units` must be 'kept' for a teacher that is not from fairseq's file: it has none."
            )
        if self.targets.kind == "cached" and self.crop is not None and self.crop < self.longest_clip:
            raise ValueError("`crop` must be None where the teacher's states are cached: they are of whole clips.")
        return self

    def __str__(self) -> str:
        if not self.distils:
            return f"{self.corpus}, {self.student} undistilled, seed {self.seed}"
        front = f"front-end {self.front_end_steps} steps" if self.front_end_steps else ""
        labels = self.teacher.label, self.hears.label, self.targets.label
        parts = f"λ = {self.regression:g}, {self.discrimination:g}", front, *labels
        return f"{self.corpus}, {self.student} distilled, {', '.join(filter(None, parts))}, seed {self.seed}"

    @property
    def _on_filter_banks(self) -> bool:
        return self.student.front_end.kind == "filter_banks"

    @property
    @override
    def steps(self) -> int:
        return self.optimisation.steps

    def split(self, split: str) -> SplitPreparation:
        """One prepared split."""
        return SplitPreparation(corpus=self.corpus, split=split, longest=self.longest_clip)

    def taught(self) -> tuple[State, ...]:
        """The teacher's states that the losses compare with, in ascending order; the last one has the hidden units.

        Raises ValueError where the teacher lacks one.
        """
        layers = sorted({*self.heads.targets(self.student.layers), self.teacher.depth})
        below: tuple[State, ...] = (self.front_end_state,) if self.front_end_steps else ()
        return tuple(self.teacher.widths((*below, *layers)))

    def cached(self, split: str) -> StatePreparation:
        """The teacher's states over a split, where they are cached."""
        assert self.targets.kind == "cached"
        layers, needed = self.targets.layers or self.taught(), self.taught()
        if not set(needed) <= set(layers):
            raise ValueError(f"`targets.layers` must have all that are needed, {needed}, but are {layers} instead.")
        return StatePreparation(teacher=self.teacher, split=self.split(split), layers=layers)

    def units(self) -> Preparation:
        """The teacher's hidden units: its own, or clusters of its states."""
        return self.teacher.own_units() or ClusterPreparation(
            teacher=self.teacher, split=self.split("train"), clusters=self.clusters
        )

    @override
    def preparations(self) -> tuple[Preparation, ...]:
        banks = (FilterBankMoments(split=self.split("train")),) if self._on_filter_banks else ()
        if not self.distils:
            return banks
        splits = "train", "valid"
        states = (self.cached(split) for split in splits if self.targets.kind == "cached")
        return (*(self.split(split) for split in splits), *banks, *states, self.units())

    @override
    def reports(self) -> tuple[str, ...]:
        return tuple(f"valid/{name}" for name in ("loss", *NEARNESS))

    def initial(self, regularisation: Regularisation = DISTILLATION, moments: Tensor | None = None) -> SpeechEncoder:
        """The student as the teacher initialises it; what it does not is drawn from the recipe's seed.

        `moments` are those of filter banks, for a student on them that is to learn and not only to be looked at.
        """
        torch.manual_seed(self.seed)
        return self.student.build(
            self.teacher.pretrained(), standardised=self.teacher.standardised, regularisation=regularisation,
            moments=moments,
        )  # fmt: skip

    def trained(self, kept: Path, regularisation: Regularisation) -> SpeechEncoder:
        """The student that a finished trial of this recipe has kept, with the moments of its filter banks.

        Raises ValueError when its weights are missing or damaged.
        """
        student = self.student.build(
            architecture=self.teacher.architecture(), standardised=self.teacher.standardised,
            regularisation=regularisation,
        )  # fmt: skip
        try:
            student.load_state_dict(load_file(kept / STUDENT))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ValueError(f"{kept / STUDENT} must have the weights of {self}, but has not: {error}.") from error
        return student

    def moments(self) -> Tensor | None:
        """Mean and variance of filter banks over the training split, for a student on them."""
        if not self._on_filter_banks:
            return None
        return moments(FilterBankMoments(split=self.split("train")).build())

    def task(self) -> DistilHubertTask:
        """The student with its heads and its teacher; the teacher's hidden units must be there."""
        units = HiddenUnits.load(self.units().build())  # before anything is drawn, for if they are made, that draws too
        if self.special_units == "left_out":
            units = units.without_first(self.teacher.special)
        return self.assembled(self.initial(moments=self.moments()), units)

    @override
    def run(self, run: Run) -> dict[str, float]:
        """Train and keep the last student, as the paper does, with how near it came on the validation split.

        Raises ValueError when there are more workers than shares, or the teacher lacks a layer.
        """
        world = World.here()
        mine, task = self.optimisation.shares_of(world.rank, world.size), self.task()
        progress = fit_on(
            self._loader("train"), self._loader("valid"), task, run, stage="distillation",
            optimisation=self.optimisation, batching=self.batching, selection=Last(), mine=mine,
            evaluation_seconds=self.evaluation_seconds, seed=self.seed, world=world,
        )  # fmt: skip
        result = {name: progress.values[name] for name in self.reports()}
        if world.rank == 0:
            with TemporaryDirectory(prefix="result-") as folder:
                weights = {name: value.contiguous() for name, value in task.weights().items()}
                save_file(weights, Path(folder, STUDENT))
                write_atomically(Path(folder, DISTILLED), json.dumps(result))
                run.keep(Path(folder, STUDENT))
                run.keep(Path(folder, DISTILLED))
        result["step"] = float(self.steps)
        run.report(result, step=self.steps)
        return result

    @override
    def probe(self) -> dict[str, float]:
        batches = probe.noise(self.batching, longest=self.crop or self.longest_clip, shares=self.optimisation.shares)
        student, width = self.initial(), self.teacher.width
        units = HiddenUnits(torch.randn(8, width), torch.zeros(8), torch.randn(self.clusters.count, 8), 0.1)
        online = self.model_copy(update={"targets": Online()}) if self.targets.kind == "cached" else self
        task = online.assembled(student, units)
        parameters = float(sum(weight.numel() for weight in student.parameters()))
        return {"seconds": probe.seconds_per_step(task, batches, self.optimisation), "parameters": parameters}

    def assembled(self, student: SpeechEncoder, units: HiddenUnits) -> DistilHubertTask:
        """The student with its heads, these hidden units of its teacher, and the teacher or what is cached of it."""
        taught, width = self.taught(), student.width
        heads = self.heads.build(width, self.student.layers, self.teacher.width)
        unit_head = self.unit_head.build(student=width, labels=units.get_buffer("embeddings"))
        widths = self.teacher.widths(taught)
        front_end_head = nn.Linear(width, widths[self.front_end_state]) if self.front_end_steps else None
        dropped = DroppedHeads(heads, unit_head, front_end_head)
        targets = self.targets
        cached = targets.kind == "cached"
        teacher = self.cached("train").widths() if cached else targets.build(self.teacher, taught)
        return DistilHubertTask(self, student, dropped, units, teacher, last=self.teacher.depth)

    def _loader(self, name: str) -> Loader:
        split = PreparedSplit(self.split(name).build())
        sources: dict[str, FeatureSource] = {}
        if self.targets.kind == "cached":
            sources["teacher"] = self.hears.source(CachedFeatures(self.cached(name).build()), len(split))
        elif self.hears.kind == "another_clip":
            sources[HEARD] = self.hears.source(Waveforms(split), len(split))
        return Loader(split, sources, crop=int(self.crop * SAMPLE_RATE) if self.crop else None)


def released_code(recipe: DistilHubert) -> DistilHubert:
    """The same trial as the authors' released code has it (`TCL606/s3prl` at a975aa5f), as far as fields can say.

    Kept are the corpus, the teacher, the seed, the shape of the student with its heads, the weights of the losses and
    the steps of L_frontend, which are among the 25 000: the files that had them were not released. What fields cannot
    say is otherwise here than there:

    - its means over frames have the padding in them, on the student's side and on the teacher's;
    - its group norm is taken over a clip's padding, so that a clip is not what it is alone;
    - it computes in half precision, and L_disc in single precision; here losses are in single precision, and matrix
      products in bfloat16 where the device has it;
    - a run that is resumed repeats the steps of L_frontend, whose counter it does not save;
    - the number of GPUs that share a batch of 12 is not known, and is taken for one.
    """
    student = recipe.student
    if student.front_end.kind == "teachers":
        front_end = {"convolutions": "teacher", "conv_norm": "none", "gradient": 0.1}
    else:
        front_end = {"gradient": 1.0, "dropout": 0.1}
    changed: dict[str, Any] = {"front_end": student.front_end.model_copy(update=front_end)}
    if student.kind == "shallow_wide":
        changed |= dict.fromkeys(("transformer", "projection", "positions"), "teacher") | {"encoder_norm": "random"}
    fields: dict[str, Any] = {
        "hears": OwnClip(),
        "student": student.model_copy(update=changed),
        "unit_head": Logits(temperature=0.1),
        "special_units": "kept",
        "layers": "mean",
        "front_end_norm": "l1",
        "front_end_target": "encoder_input",
        "by": "frame",
        "targets": OnlineInTraining(),
        "crop": CROP,
        "batching": ByCount(utterances=12),
        "optimisation": DISTILHUBERTS,
    }
    return DistilHubert.model_validate({**dict(recipe), **fields})
