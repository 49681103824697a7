"""The rows of the tables: students, each with the losses that it is distilled with."""

from dataclasses import dataclass
from typing import Any

from orchestrator.study.table import Row
from trainables.losses.prediction_heads import OnLast
from trainables.losses.unit_heads import HardLabels, Logits
from trainables.recipes.distil_hubert import DistilHubert
from trainables.students.distilled import FilterBanks, ShallowWide
from trainables.teachers.heard import AnotherClip
from trainables.teachers.speech import RandomSpeechModel

WEIGHTS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
"""λ_reg and λ_disc of Table 2."""


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
            "start.teacher.kind": self.fields["teacher"]["kind"], "start.hears.kind": self.fields["hears"]["kind"],
            "start.unit_head.kind": self.fields["unit_head"]["kind"],
            "start.unit_head.temperature": self.fields["unit_head"]["temperature"],
        }  # fmt: skip
        if front == "filter_banks":
            where["start.front_end_steps"] = self.fields["front_end_steps"]
        return Row(self.name, self.heading, where)


def students(start: DistilHubert, table: str, preset: str) -> list[Student]:
    """The rows of a table; those of `controls` are Table 2's D&T with both losses, each with one thing changed."""
    base = {"teacher": start.teacher, "hears": start.hears, "unit_head": start.unit_head}
    shapes = {
        "sw": ("S&W", {**base, **wide(start, preset)}),
        "dt": ("D&T", {**base, "student": start.student, "heads": start.heads}),
    }
    if table == "2":
        return [
            _student(f"{name}_{reg:g}{disc:g}", f"{text} {reg:g}, {disc:g}", shape, reg, disc)
            for reg, disc in WEIGHTS
            for name, (text, shape) in shapes.items()
        ]
    thin = shapes["dt"][1]
    if table == "controls":
        untaught = RandomSpeechModel(model=start.teacher.folder.model, bin_sha256=start.teacher.folder.bin_sha256)
        changes: dict[str, tuple[str, dict[str, Any]]] = {
            "own": ("as in Table 2", {}),
            "another_clip": ("another clip's states", {"hears": AnotherClip()}),
            "random_teacher": ("random teacher", {"teacher": untaught}),
            "hard_labels": ("hard labels", {"unit_head": HardLabels()}),
            "temperature": ("τ in the student", {"unit_head": Logits(temperature=0.1)}),
        }
        return [_student(name, text, {**thin, **change}, 1.0, 1.0) for name, (text, change) in changes.items()]
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
