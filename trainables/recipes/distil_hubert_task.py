"""What the distillation of a speech model minimises (Wang, Tang et al., arXiv 2210.15631, eq. 3 and 5), and the task
that does: a student that is to have its teacher's hidden states and hidden units.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from trainables.batch import Batch
from trainables.config import Config
from trainables.losses import hidden_units as losses
from trainables.losses.prediction_heads import LayerHeads
from trainables.losses.unit_heads import UnitHead
from trainables.metrics import reduced
from trainables.sequences import Sequences
from trainables.students.encoders import SpeechEncoder
from trainables.students.states import State
from trainables.task import Losses, Task
from trainables.teachers.heard import HEARD, heard
from trainables.teachers.hidden_units import HiddenUnits
from trainables.teachers.speech import AudioTeacher, TeacherStates
from trainables.teachers.states import parted

NEARNESS = ("l1", "cosine", "kl", "agreement")
"""Values of the validation split: mean |ŷ − h| and cosine over the layers, KL(p_t, p_s) and the share of frames whose
likeliest unit is the teacher's. Those of a head that has no weight in the loss are of a head that learned nothing."""


class Objective(Config):
    """L = λ_reg L_reg + λ_disc L_disc (eq. 3), and L_frontend alone in the steps before (eq. 5)."""

    regression: Annotated[float, Field(ge=0)] = 1.0
    """λ_reg (eq. 3)."""
    discrimination: Annotated[float, Field(ge=0)] = 1.0
    """λ_disc (eq. 3). At 0, 0 nothing is distilled: the student stays as it was initialised (Table 2, first rows)."""
    layers: Literal["mean", "sum"] = "mean"
    """Over the layers of L_reg the paper has a sum and the released code the mean, as here: at 1, 1 the two weigh L_reg
    otherwise against L_disc."""
    front_end_steps: Annotated[int, Field(ge=0)] = 0
    """N of eq. 5: steps with L_frontend alone; students on filter banks have 5 000, and 25 000 after them (§4.1)."""
    front_end_norm: losses.Norm = "l1"
    """§3.3: L1 or L2, of the front-end's output and the teacher's state."""
    front_end_target: Literal["encoder_input", "projected", "convolutions"] = "encoder_input"
    """The teacher's states that are "outputs of the waveform front-end" (§3.3): what its first layer takes (the
    released code); its frames after the layer norm and the projection, before it knows their positions (Fig. 2 as it is
    drawn); or what its convolutions give."""
    by: Literal["frame", "utterance"] = "frame"
    """Mean over the frames of a batch, as in the released code, or of each utterance's mean."""

    @property
    def front_end_state(self) -> State:
        """The teacher's state that L_frontend compares with."""
        return 0 if self.front_end_target == "encoder_input" else self.front_end_target

    @property
    def distils(self) -> bool:
        """Whether there is anything to learn; else the student is what it was initialised as."""
        return bool(self.regression or self.discrimination)


@dataclass(frozen=True, slots=True)
class DroppedHeads:
    """Heads on a student that exist only in its distillation, and are dropped after it."""

    layers: LayerHeads
    units: UnitHead
    front_end: nn.Linear | None
    """From the front-end's output to the teacher's state (§3.3); None where there is no L_frontend."""


class DistilHubertTask(Task):
    """A student that is to have its teacher's hidden states and hidden units."""

    student: SpeechEncoder

    def __init__(
        self,
        objective: Objective,
        student: SpeechEncoder,
        heads: DroppedHeads,
        units: HiddenUnits,
        teacher: AudioTeacher | Mapping[State, int],
        *,
        last: int,
    ) -> None:
        """`teacher` is one that listens at each step, or the widths of those of its states that batches bring from a
        cache; its layer `last` has the hidden units."""
        super().__init__()
        self.objective, self.student, self.units = objective, student, units
        self.heads, self.unit_head, self.front_end_head = heads.layers, heads.units, heads.front_end
        self.depth, self.last = len(student.layers), last
        # What is the same for both is computed once: the convolutions are most of what a thin student costs.
        self.shares = isinstance(teacher, AudioTeacher) and student.convolves_as(teacher.encoder)
        self.teacher, self.cached = (teacher, {}) if isinstance(teacher, AudioTeacher) else (None, teacher)

    @override
    def skips(self) -> bool:
        """Before step N the encoder has no gradient, and a head whose loss has no weight never has."""
        return True

    @override
    def forward(self, batch: Batch) -> Losses:
        """L = L_frontend before step N, then λ_reg L_reg + λ_disc L_disc (eq. 3 and 5)."""
        objective, targets = self.objective, self.targets(batch)
        weights = batch.scale if objective.by == "utterance" or batch.audio_share is None else batch.audio_share
        if batch.step < objective.front_end_steps:
            front_end = (self.front_end_distance(batch, targets) * weights).sum()
            return Losses(front_end, {"front_end": front_end})
        states = self.states(batch, targets)
        terms: dict[str, Float[Tensor, ""]] = {}
        total = torch.zeros((), device=weights.device)
        if objective.regression:
            parts = self.regression(states, targets)
            terms |= {name: (value * weights).sum() for name, value in parts.items()}
            total = total + objective.regression * (terms["l1"] + terms["log_sigmoid"])
        if objective.discrimination:
            distance = self.unit_head.distance(*self.units_of(states, targets))
            terms["discrimination"] = (distance * weights).sum()
            total = total + objective.discrimination * terms["discrimination"]
        return Losses(total, terms)

    def targets(self, batch: Batch) -> TeacherStates:
        """The teacher's states, from the cache that the batch brings or from the teacher itself."""
        if self.teacher is not None:
            return self.teacher(heard(batch), ("convolutions",) if self._shares(batch) else ())
        return parted(batch.sources["teacher"], self.cached)

    def states(self, batch: Batch, targets: TeacherStates) -> dict[int, Sequences]:
        """The student's states that heads look at, from its teacher's convolutions where these are its own as well."""
        known = self.student.given(targets.layers["convolutions"]) if self._shares(batch) else nullcontext()
        with known:
            return self.student.states(batch.audio, {*self.heads.wanted, self.depth})

    def _shares(self, batch: Batch) -> bool:
        return self.shares and HEARD not in batch.sources

    def front_end_distance(self, batch: Batch, targets: TeacherStates) -> Float[Tensor, " batch"]:
        """L_frontend (§3.3) of each utterance: the student's front-end to the teacher's state."""
        assert self.front_end_head is not None
        frames = self.student.front_end(batch.audio)  # pyright: ignore[reportCallIssue]
        predicted = Sequences(self.front_end_head(frames.values), frames.lengths)
        return losses.distance(predicted, targets.layers[self.objective.front_end_state], self.objective.front_end_norm)

    def regression(self, states: Mapping[int, Sequences], targets: TeacherStates) -> dict[str, Float[Tensor, " batch"]]:
        """The two parts of L_reg (eq. 3) of each utterance, and the mean cosine."""
        predicted = self.heads(states)
        distances = [losses.distance(value, targets.layers[i]) for i, value in predicted.items()]
        angles = [losses.cosine(value, targets.layers[i]) for i, value in predicted.items()]
        over_layers = torch.mean if self.objective.layers == "mean" else torch.sum
        return {
            "l1": over_layers(torch.stack(distances), dim=0),
            "log_sigmoid": over_layers(torch.stack([angle for angle, _ in angles]), dim=0),
            "cosine": torch.stack([similarity for _, similarity in angles]).mean(dim=0).detach(),
        }

    def units_of(self, states: Mapping[int, Sequences], targets: TeacherStates) -> tuple[Sequences, Sequences]:
        """log p_s and log p_t (eq. 4), (batch, frames, units) each."""
        return self.unit_head(states[self.depth]), self.units(targets.layers[self.last])

    @override
    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Means over all frames of the validation split, whatever the step: L, and how near the student is."""
        names = (*NEARNESS, "log_sigmoid", "discrimination")
        sums = torch.zeros(len(names) + 1, dtype=torch.float64)
        for batch in batches:
            targets = self.targets(batch)
            states = self.states(batch, targets)
            log_s, log_t = self.units_of(states, targets)
            found = self.regression(states, targets) | {
                "discrimination": self.unit_head.distance(log_s, log_t),
                "kl": losses.divergence(log_s, log_t),
                "agreement": losses.agreement(log_s, log_t),
            }
            values, frames = torch.stack([found[name] for name in names]).double(), batch.audio.lengths.double()
            sums += torch.cat([(values * frames).sum(dim=1), frames.sum()[None]]).cpu()
        *totals, frames = reduced(sums).tolist()
        means = dict(zip(names, (total / frames for total in totals), strict=True))
        regression, discrimination = means["l1"] + means.pop("log_sigmoid"), means.pop("discrimination")
        return {
            "loss": self.objective.regression * regression + self.objective.discrimination * discrimination,
            **means,
        }
