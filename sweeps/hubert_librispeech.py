"""Tables 2, 3 and 5 of Wang, Tang et al. (arXiv 2210.15631): HuBERT distilled into small students, fine-tuned."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    # Run as a file: the packages lie beside this folder, and this folder would hide libraries of equal names.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from orchestrator.cli import StudyOptions, main
from orchestrator.study.layout import Curves, Layout
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.table import Column, Published, Row, Table
from orchestrator.study.value import Value
from sweeps.commonvoice20 import shortened
from trainables import miniature
from trainables.config import explain
from trainables.corpora.batching import BySeconds, ChannelMasking, TimeMasking
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.librispeech import LibriLight, LibriSpeech
from trainables.corpora.subsets import Subset
from trainables.corpora.text import LettersAndApostrophes
from trainables.losses.prediction_heads import LayerToLayer, OnLast
from trainables.optimisation import Linear, Optimisation, TriStage
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.finetune_ctc import FineTuneCtc
from trainables.students.ctc import Regularisation
from trainables.students.distilled import DeepThin, FilterBanks, ShallowWide
from trainables.teachers.clusters import Clusters
from trainables.teachers.speech import HubertFromFairseq, SpeechModel
from trainables.teachers.states import Cached

PUBLISHED = Path(__file__).parent / "published"
WEIGHTS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
"""λ_reg and λ_disc of Table 2."""
FEW = 0.08
"""Hours with transcripts in the first column of the miniature."""
ALL_OF_IT = ("train-clean-100", "train-clean-360", "train-other-500")
NEAR = (
    Value("distilled/agreement", "Same unit", digits=3, unit="", better="larger"),
    Value("distilled/kl", "KL", digits=3, unit=""),
    Value("distilled/cosine", "Cosine", digits=3, unit="", better="larger"),
)


class Options(StudyOptions):
    """Options of the sweep over students, losses and amounts of transcribed speech."""

    preset: Literal["paper", "mini"] = "paper"
    """`paper`: HuBERT base and LibriSpeech (§4.1). `mini`: Whisper tiny.en and the miniature's Romanian, on a CPU."""
    tables: tuple[Literal["2", "3", "5"], ...] = ("2",)
    """Tables to make; cells that are in several run once."""
    seeds: tuple[int, ...] = (1,)
    """Seeds, of the distillation and of the fine-tuning; with several, a cell of a table is their mean."""
    steps: int | None = None
    """Optimiser steps of the fine-tuning, those of the distillation, warm-ups and evaluations in proportion; by default
    the preset's."""
    data: Path | None = None
    """Folder with `LibriSpeech` and `librispeech_finetuning`, Libri-light's limited sets."""
    teacher: str | None = None
    """fairseq's HuBERT as a .pt file, with its own hidden units; or a speech encoder of the wav2vec family or Whisper,
    a folder or a hub name, whose hidden units are clusters."""
    teacher_sha256: str | None = None
    """Digest of the .pt file, or of the teacher's pytorch_model.bin where there are no safetensors, that you trust."""


@dataclass(frozen=True)
class Student:
    """A row of a table: a student with the losses that it is distilled with."""

    name: str
    heading: str
    fields: dict[str, Any]
    """Fields of the distillation."""

    @property
    def distilled(self) -> bool:
        """Whether there is a loss to distil it with."""
        return bool(self.fields["regression"] or self.fields["discrimination"])

    def row(self) -> Row:
        """The trials that fine-tune it."""
        front = self.fields["student"]["front_end"]["kind"]
        where = {
            "start.student.kind": self.fields["student"]["kind"], "start.student.front_end.kind": front,
            "start.regression": self.fields["regression"], "start.discrimination": self.fields["discrimination"],
        }  # fmt: skip
        if front == "filter_banks":
            where["start.front_end_steps"] = self.fields["front_end_steps"]
        return Row(self.name, self.heading, where)


@dataclass(frozen=True)
class Amount:
    """A column of a table: the speech with transcripts, and what is done with it."""

    name: str
    heading: str
    fields: dict[str, Any]
    """Fields of the fine-tuning."""
    where: dict[str, Any]
    """The same, for whoever looks for its trials."""


def study(options: Options) -> tuple[Sweep, Layout]:
    """Distil students of a speech model, fine-tune them with few transcripts, and print Tables 2, 3 and 5."""
    if options.data is None and options.preset == "paper":
        raise ValueError("`data` must be the folder that has LibriSpeech and librispeech_finetuning, but is not given.")
    for name in ("tables", "seeds"):
        if not getattr(options, name):
            raise ValueError(f"`{name}` must have at least one value, but is empty.")
    base, amounts = paper(options) if options.preset == "paper" else mini(options)
    if options.steps is not None:
        if options.steps < 10:
            raise ValueError(f"`steps` must be at least 10, but is {options.steps} instead.")
        base, amounts = in_steps(base, amounts, options.steps)
    start = base.start
    assert isinstance(start, DistilHubert)
    rows = {table: students(start, table, options.preset) for table in options.tables}
    # By their fields: a student may be in several tables, under another name.
    different = {str(student.fields): student for found in rows.values() for student in found}
    recipes = []
    for seed in options.seeds:
        for student in different.values():
            changed = start.model_dump() | student.fields | {"seed": seed}
            for amount in amounts:
                axes = {"start": [changed], "seed": [seed], **{path: [value] for path, value in amount.fields.items()}}
                recipes += grid(base, axes)
    judged = Value(f"valid/{base.selection}")
    sweep = Sweep(
        options.name or f"hubert-{options.preset}",
        recipes,
        options.resources(gpus=1 if options.preset == "paper" else 0),
        axes=("start", "corpus", "optimisation", "subset", "frozen_steps", "front_end_gradient", "seed"),
        metric=judged,
    )
    tables = [table(name, found, amounts, base, options) for name, found in rows.items()]
    if distilled := [student for student in different.values() if student.distilled]:
        tables.append(nearness(distilled, amounts[0], base))
    return sweep, Layout(tables, [Curves("curves", tables[0].name, judged, f"validation {base.selection.upper()} (%)")])


def in_steps(base: FineTuneCtc, amounts: Sequence[Amount], steps: int) -> tuple[FineTuneCtc, list[Amount]]:
    """The same study in a share of the steps."""
    share, start = steps / base.optimisation.steps, base.start
    assert isinstance(start, DistilHubert)
    start = start.model_copy(update={"optimisation": shortened(start.optimisation, share)})
    fewer = {"start": start, "optimisation": shortened(base.optimisation, share)}
    changed = []
    for amount in amounts:
        own = amount.fields.get("optimisation")
        fields = {} if own is None else {"optimisation": shortened(Optimisation(**own), share).model_dump()}
        changed.append(replace(amount, fields=amount.fields | fields))
    return base.model_copy(update=fewer | {"frozen_steps": round(base.frozen_steps * share)}), changed


def students(start: DistilHubert, table: str, preset: str) -> list[Student]:
    """The rows of a table."""
    shapes = {"sw": ("S&W", wide(start, preset)), "dt": ("D&T", {"student": start.student, "heads": start.heads})}
    if table == "2":
        return [
            _student(f"{name}_{reg:g}{disc:g}", f"{text} {reg:g}, {disc:g}", shape, reg, disc)
            for reg, disc in WEIGHTS
            for name, (text, shape) in shapes.items()
        ]
    thin = shapes["dt"][1]
    steps, before = start.optimisation.steps, start.optimisation.steps // 5
    longer = start.optimisation.model_copy(update={"steps": steps + before})
    banks = {**thin, "student": start.student.model_copy(update={"front_end": FilterBanks()}), "optimisation": longer}
    if table == "3":
        waveform = "waveform" if preset == "paper" else "teacher's"
        return [
            *(_student(f"waveform_1{d:g}", f"{waveform} 1, {d:g}", thin, 1.0, d) for d in (0.0, 1.0)),
            *(
                _student(f"fbank_1{d:g}", f"Fbank 1, {d:g}", {**banks, "front_end_steps": before}, 1.0, d)
                for d in (0.0, 1.0)
            ),
        ]
    return [
        _student("without_frontend", "without L_frontend", {**banks, "front_end_steps": 0}, 1.0, 1.0),
        _student("with_frontend", "with L_frontend", {**banks, "front_end_steps": before}, 1.0, 1.0),
    ]


def _student(name: str, heading: str, shape: dict[str, Any], regression: float, discrimination: float) -> Student:
    fields = {path: value.model_dump() if hasattr(value, "model_dump") else value for path, value in shape.items()}
    return Student(name, heading, {**fields, "regression": regression, "discrimination": discrimination})


def wide(start: DistilHubert, preset: str) -> dict[str, Any]:
    """What differs in an S&W student: of Whisper's four layers one is kept, and it learns more slowly."""
    if preset == "paper":
        return {"student": ShallowWide(), "heads": OnLast()}
    slower = start.optimisation.model_copy(update={"learning_rate": 5e-4})
    return {"student": ShallowWide(layers=1), "heads": OnLast(layers=(2, 3, 4)), "optimisation": slower}


def paper(options: Options) -> tuple[FineTuneCtc, list[Amount]]:
    """§4.1, with what only the released code or fairseq's recipes say."""
    root = str(options.data)
    books = LibriSpeech(root=root, train=ALL_OF_IT, valid="dev-clean", tests=())
    teacher = listener(options, "facebook/hubert-base-ls960")
    hour, ten = (LibriLight(root=root, limited=root, amount=amount) for amount in ("1h", "10h"))
    base = FineTuneCtc(
        corpus=hour, start=DistilHubert(corpus=books, teacher=teacher), normaliser=LettersAndApostrophes()
    )
    optimisation = base.optimisation
    slow = optimisation.model_copy(update={"learning_rate": 2e-5})
    long = optimisation.model_copy(update={"steps": 80_000, "evaluate_every": 8_000})
    hundred = LibriSpeech(root=root)
    return base, [
        Amount("1h", "1 h", _fields(hour, slow), {"corpus.amount": "1h"}),
        Amount("10h", "10 h", _fields(ten, optimisation), {"corpus.amount": "10h"}),
        Amount("100h", "100 h", _fields(hundred, long), {"corpus.kind": "librispeech"}),
    ]


def listener(options: Options, default: str) -> SpeechModel | HubertFromFairseq:
    """The teacher that is asked for, or else `default`."""
    name = options.teacher or default
    if name.endswith(".pt"):
        return HubertFromFairseq(file=name, sha256=options.teacher_sha256)
    return SpeechModel(model=name, bin_sha256=options.teacher_sha256)


def _fields(corpus: LibriSpeech | LibriLight, optimisation: Optimisation) -> dict[str, Any]:
    return {"corpus": corpus.model_dump(), "optimisation": optimisation.model_dump()}


def mini(options: Options) -> tuple[FineTuneCtc, list[Amount]]:
    """The same experiment in minutes: students of Whisper tiny.en's encoder on the miniature's Romanian."""
    small = miniature.locate()
    corpus = CommonVoice(root=str(options.data or small.corpus), language="ro")
    start = DistilHubert(
        corpus=corpus,
        teacher=listener(options, str(small.student)),
        student=DeepThin(width=256, feed_forward=512, layers=4, heads=4),
        heads=LayerToLayer(),
        clusters=Clusters(count=100, dimensions=64, frames=20_000),
        targets=Cached(layers=(0, 1, 2, 3, 4)),
        crop=None,
        longest_clip=5.0,
        batching=BySeconds(seconds=14),
        optimisation=Optimisation(
            steps=200, warmup=14, schedule=Linear(), learning_rate=1e-3, epsilon=1e-6, weight_decay=1e-6, clip=5.0,
            evaluate_every=200,
        ),
        evaluation_seconds=60,
    )  # fmt: skip
    base = FineTuneCtc(
        corpus=corpus,
        start=start,
        regularisation=Regularisation(attention=0, hidden=0, activation=0, projection=0, layers=0),
        front_end_gradient=1.0,
        masking=TimeMasking(probability=0),
        channel_masking=ChannelMasking(probability=0),
        frozen_steps=0,
        longest_training_clip=3.5,
        longest_clip=30.0,
        batching=BySeconds(seconds=14),
        optimisation=Optimisation(
            steps=250, warmup=50, schedule=TriStage(), learning_rate=1e-3, new_learning_rate=4e-3, evaluate_every=125
        ),
        selection="cer",
        evaluation_seconds=60,
    )
    few = Subset(hours=FEW)
    return base, [
        Amount("few", "5 min", {"subset": few.model_dump()}, {"subset.hours": few.hours}),
        Amount("all", "all", {"subset": None}, {"subset.hours": None}),
    ]


def table(
    number: str, found: Sequence[Student], amounts: Sequence[Amount], base: FineTuneCtc, options: Options
) -> Table:
    """A table with a row for each student and a column for each amount."""
    paper = options.preset == "paper"
    value = Value("test-clean/wer", counts="words") if paper else Value("test/cer", counts="characters")
    columns = [Column(amount.name, amount.heading, amount.where, value=value) for amount in amounts]
    names = {"2": "structures and losses", "3": "front-ends", "5": "with and without L_frontend"}
    return Table(
        f"table{number}",
        f"Table {number} of Wang, Tang et al.: {names[number]}, {value.title} (%)",
        [student.row() for student in found],
        columns,
        value,
        Published.read(PUBLISHED / f"hubert_distillation_table{number}.csv") if paper else Published(),
        base.corpus.release(),
        compared="rows",
        baseline="dt_00" if number == "2" else found[0].name,
        reasons=_reasons(base) if paper else [],
        notes=_notes(base, options),
    )


def nearness(found: Sequence[Student], amount: Amount, base: FineTuneCtc) -> Table:
    """How near each distilled student came to its teacher, which all trials that fine-tune it tell."""
    return Table(
        "near",
        "How near students come to their teacher before fine-tuning",
        [student.row() for student in found],
        [Column(near.metric, near.title, amount.where, value=near) for near in NEAR],
        NEAR[0],
        data=base.corpus.release(),
        compared="rows",
        notes=["Means over the frames of the validation split; a head whose loss has no weight has learned nothing."],
    )


def _reasons(base: FineTuneCtc) -> list[str]:
    """Why the paper's preset is not comparable with the paper."""
    start = base.start
    assert isinstance(start, DistilHubert)
    reasons = ["Decoding is greedy; the paper's is with a 4-gram."]
    if start.teacher.own_units() is None:
        reasons.append("Hidden units are clusters of the teacher's last states; the paper's are HuBERT's own.")
    return reasons


def _notes(base: FineTuneCtc, options: Options) -> list[str]:
    start = base.start
    assert isinstance(start, DistilHubert)
    units = "its own" if start.teacher.own_units() else f"{start.clusters.count} clusters of its last states"
    notes = [
        f"Teacher {Path(start.teacher.name).name}, whose hidden units are {units}; λ stands as λ_reg, λ_disc, and 0, 0 "
        "is not distilled."
    ]
    if options.preset == "mini":
        notes.append("The miniature's speakers are in several splits, and its teacher has learned from transcripts.")
    return notes


if __name__ == "__main__":
    sys.exit(main(Options, study, explain))
