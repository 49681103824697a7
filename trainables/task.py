"""The task of a training loop: a student and its losses, which weights of them learn, and what of them is saved.

A checkpoint has what training changes and nothing else. A frozen teacher beside the student is rebuilt from its own
files, as it was when training began, and so are the frozen weights of the student: they would fill every checkpoint
with what every worker has already.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from trainables.batch import Batch
from trainables.optimisation import Group, Optimisation

STUDENT = "student."


@dataclass(frozen=True, slots=True)
class Losses:
    """One micro-batch's part of the loss of its global batch: sums over utterances, each times its scale."""

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]


class Task(nn.Module, ABC):
    """A student, its losses, and whatever else they need; trained by `fit`."""

    student: Any
    """The module whose weights are kept."""

    @abstractmethod
    def forward(self, batch: Batch) -> Losses:
        """The losses of a micro-batch."""

    @abstractmethod
    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Validation values by name, such as `cer`, over all ranks; every rank calls it with its part."""

    def groups(self, optimisation: Optimisation) -> Sequence[Group]:
        """The weights that learn, each in one group with its peak learning rate: by default all in one."""
        return [Group("all", list(self.parameters()), optimisation.learning_rate)]

    def skips(self) -> bool:
        """Whether a step may leave weights that learn without a gradient, as layerdrop does: then several workers
        look for such in each step."""
        return False

    def learned(self) -> dict[str, Tensor]:
        """The weights that need a gradient, and buffers, by name, as they stand: all that training changes.

        Beside the student, parts that have weights of which none needs a gradient count as teachers: their buffers are
        left out. The values share the module's memory.
        """
        weights = dict(self.named_parameters(remove_duplicate=False))
        teachers = tuple(
            f"{name}." for name, part in self.named_modules(remove_duplicate=False) if name and _frozen(part)
        )
        return {
            name: value
            for name, value in self.state_dict().items()
            if (
                weights[name].requires_grad
                if name in weights
                else name.startswith(STUDENT) or not name.startswith(teachers)
            )
        }

    def learned_by_student(self) -> dict[str, Tensor]:
        """The weights and buffers of the student that training changes, by the student's own names."""
        return {name.removeprefix(STUDENT): value for name, value in self.learned().items() if name.startswith(STUDENT)}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Put back what `learned` gave. What is frozen stays as it was built, even where `saved` has it too.

        Raises ValueError when something is missing.
        """
        _restore(self, saved, self.learned())

    def restore_student(self, saved: Mapping[str, Tensor]) -> None:
        """The same for what `learned_by_student` gave."""
        _restore(self.student, saved, self.learned_by_student())

    def weights(self) -> dict[str, Tensor]:
        """A copy of the student in main memory, whole: what a recipe keeps."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.student.state_dict().items()}


def _frozen(part: nn.Module) -> bool:
    weights = list(part.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def _restore(module: nn.Module, saved: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if missing := sorted(wanted.keys() - saved.keys()):
        raise ValueError(f"The checkpoint must have all that was trained, but lacks {', '.join(missing)}.")
    module.load_state_dict({name: saved[name] for name in wanted}, strict=False)
