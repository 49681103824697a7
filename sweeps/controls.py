"""Controls of Distill-L2S: its teacher against others that know nothing, or its loss against other losses."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    # Run as a file: the packages lie beside this folder, and this folder would hide libraries of equal names.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from orchestrator.cli import main
from orchestrator.study.layout import Layout
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.table import Column, Published, Table
from sweeps.commonvoice20 import (
    ERROR,
    HEAD,
    JUDGED,
    PUBLISHED,
    CellOptions,
    check,
    column,
    layout_of,
    locales,
    notes,
    reasons,
    recipe,
)
from trainables.aligners import AllFrames, Linear
from trainables.config import Config, explain
from trainables.losses.distances import AbsoluteError, Cosine, SmoothL1
from trainables.losses.regression import AlignedRegression
from trainables.losses.transport import OptimalTransport
from trainables.recipes.distill_l2s import DistillL2S
from trainables.teachers.language_model import RandomLanguageModel
from trainables.teachers.variants import ShuffledTranscripts, TrainedAlong

LANGUAGES = ("cs", "ro")


class Options(CellOptions):
    """Options of the sweep over controls."""

    compare: Literal["teachers", "losses"] = "teachers"
    """`teachers`: pretrained, random, on shuffled transcripts, and as the released code has it. `losses`: aligners,
    distances and optimal transport, with the paper's teacher."""
    weights: tuple[float, ...] | None = None
    """Values of λ; by default 0, 0.5 and 1 for teachers, 0 and 0.5 for losses. At 0 there is one column."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds; a cell of the table is their mean. The random draws of a teacher follow them."""


@dataclass(frozen=True)
class Variant:
    """One of the things that are compared: fields of the recipe other than the paper's."""

    name: str
    """Begins the names of its columns, with λ after it; `distill` are the paper's own."""
    heading: str
    meaning: str
    fields: Callable[[int], Mapping[str, Config]]
    """By dotted path, for a seed."""

    def column(self, base: DistillL2S, weight: float) -> Column:
        """The trials with these fields at λ, whatever their seed."""
        variant = base.model_copy(update=dict(self.fields(0)))
        where = {"teacher.kind": variant.teacher.kind, **_leaves("distillation", variant.distillation.model_dump())}
        return Column(column(self.name, weight), f"{self.heading}\nλ {weight:g}", {**where, "weight": weight})


def teachers(base: DistillL2S) -> list[Variant]:
    """The paper's teacher and three others, of the same architecture."""
    shape = {"model": base.teacher.model, "layer": base.teacher.layer}
    pretrained = base.teacher.model_dump(exclude={"kind"})
    without_bias = AlignedRegression(bias=False)
    return [
        Variant("distill", "LM", "the pretrained teacher, frozen, as in the paper", lambda seed: {}),
        Variant(
            "random", "rand", "the same architecture with random weights, frozen",
            lambda seed: {"teacher": RandomLanguageModel(**shape, seed=seed)},
        ),
        Variant(
            "shuffled", "shuf", "the pretrained teacher on the transcripts of other utterances",
            lambda seed: {"teacher": ShuffledTranscripts(**pretrained, seed=seed)},
        ),
        Variant(
            "released", "code", "as the released code: random weights, trained along with dropout, no bias",
            lambda seed: {"teacher": TrainedAlong(**shape, seed=seed), "distillation": without_bias},
        ),
    ]  # fmt: skip


def losses(base: DistillL2S) -> list[Variant]:
    """The paper's loss, other aligners and distances, and optimal transport."""
    others = {
        ("all_frames", "all", "every frame, nearest text token"): AlignedRegression(frames=AllFrames()),
        ("linear", "lin", "text interpolated linearly"): AlignedRegression(interpolation=Linear()),
        ("l1", "L1", "mean absolute error"): AlignedRegression(distance=AbsoluteError()),
        ("smooth_l1", "sL1", "smooth L1"): AlignedRegression(distance=SmoothL1()),
        ("cosine", "cos", "1 − cosine"): AlignedRegression(distance=Cosine()),
        ("transport", "OT", "optimal transport from every frame to every token"): OptimalTransport(),
    }
    papers = Variant("distill", "MSE", "the paper's: shrunk frames, nearest token, squared error", lambda seed: {})
    return [
        papers,
        *(Variant(*names, lambda seed, loss=loss: {"distillation": loss}) for names, loss in others.items()),
    ]


def study(options: Options) -> tuple[Sweep, Layout]:
    """Compare the paper's teacher with teachers that know nothing, or its loss with other losses."""
    variants, default = (teachers, (0.0, 0.5, 1.0)) if options.compare == "teachers" else (losses, (0.0, 0.5))
    weights = sorted(set(default if options.weights is None else options.weights))
    check(options, weights)
    base = recipe(options)
    languages = locales(options, base, LANGUAGES)
    compared, positive = variants(base), [weight for weight in weights if weight]
    recipes = []
    for seed in options.seeds:  # a whole table with one seed before the next one
        axes = {"corpus.language": languages, "seed": [seed]}
        recipes += grid(base, {**axes, "weight": [0.0]}) if 0 in weights else []
        for variant in compared:
            fields = {path: [value.model_dump()] for path, value in variant.fields(seed).items()}
            recipes += grid(base, {**axes, "weight": positive, **fields})
    sweep = Sweep(
        options.name or f"{options.compare}-{options.preset}",
        recipes,
        options.resources(gpus=1 if options.preset == "paper" else 0),
        axes=("corpus.language", "weight", "teacher.kind", "teacher.seed", "distillation", "seed"),
        metric=JUDGED,
    )
    columns = [Column("finetune_0", "tuned\nλ 0", {"weight": 0.0})] if 0 in weights else []
    columns += [variant.column(base, weight) for variant in compared for weight in positive]
    table = Table(
        "table1",
        f"Controls of Distill-L2S: {options.compare}, CER (%)",
        "corpus.language",
        columns,
        ERROR,
        Published.read(PUBLISHED / "distill_l2s_table1.csv"),
        base.corpus.release(),
        baseline="finetune_0" if 0 in weights else None,
        # Whether what the paper proposes is more than what its control does.
        contrasts=[(column(compared[0].name, w), column(v.name, w)) for w in positive for v in compared[1:]],
        reasons=reasons(base, options),
        notes=[*(f"{v.heading}: {v.meaning}." for v in compared), *notes(base, options)],
        head=HEAD,
    )
    return sweep, layout_of([table], base.ngram)


def _leaves(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {name: leaf for key, part in value.items() for name, leaf in _leaves(f"{path}.{key}", part).items()}


if __name__ == "__main__":
    sys.exit(main(Options, study, explain))
