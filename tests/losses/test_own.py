"""A distillation loss that is defined elsewhere: here."""

import json
from typing import ClassVar

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from typing_extensions import override

from orchestrator.study.sweep import grid
from trainables.config import explain
from trainables.losses.own import OwnLoss, ProjectedLoss
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun
from trainables.sequences import Sequences

LABELS = torch.zeros(2, 5, dtype=torch.long)


def mean(sequences: Sequences) -> Tensor:
    return sequences.values.sum(dim=1) / sequences.lengths[:, None]


class Means(OwnLoss):
    """Squared distance of the means over time."""

    power: float = 2

    @override
    def distance(self, speech: Sequences, text: Sequences) -> Tensor:
        assert speech.values.dtype == text.values.dtype == torch.float32
        return (mean(speech) - mean(text)).abs().pow(self.power).mean(dim=1)


class Blind(Means):
    """A loss with a `build` of its own."""

    built: ClassVar[list[tuple[int, int]]] = []

    @property
    @override
    def label(self) -> str:
        return ""

    @override
    def build(self, *, student: int, teacher: int, dropped: tuple[int, ...]) -> nn.Module:
        self.built.append((student, teacher))
        return super().build(student=student, teacher=teacher, dropped=dropped)


def sequences(width: int, padding: int = 0, dtype: torch.dtype = torch.float32) -> Sequences:
    generator = torch.Generator().manual_seed(width)
    items = [torch.randn(length, width, generator=generator).to(dtype) for length in (5, 3)]
    values = nn.utils.rnn.pad_sequence([*items, torch.zeros(5 + padding, width, dtype=dtype)], batch_first=True)[:2]
    return Sequences(values, torch.tensor([5, 3]))


def built(loss: OwnLoss) -> ProjectedLoss:
    torch.manual_seed(0)
    module = loss.build(student=4, teacher=3, dropped=(0,))
    assert isinstance(module, ProjectedLoss)
    return module


def test_it_is_the_distance_of_projected_states() -> None:
    module = built(Means())
    found = module(sequences(4), sequences(3), LABELS)
    for i, length in enumerate((5, 3)):
        speech = module.projection(sequences(4).values[i, :length]).mean(dim=0)
        assert found[i].item() == pytest.approx(
            (speech - sequences(3).values[i, :length].mean(dim=0)).square().mean().item(), rel=1e-5
        )


def test_padding_and_precision_do_not_matter() -> None:
    module = built(Means())
    alone = module(sequences(4), sequences(3), LABELS)
    # Not to the last bit: a product of more rows is added up in another order on some processors.
    torch.testing.assert_close(module(sequences(4, padding=2), sequences(3, padding=1), LABELS), alone)
    with torch.autocast("cpu", torch.bfloat16):
        low = module(sequences(4, dtype=torch.bfloat16), sequences(3, dtype=torch.float16), LABELS)
    assert low.dtype == torch.float32
    assert torch.allclose(low, alone, atol=0.05)


def test_it_takes_the_place_of_the_papers(recipe: DistillL2S) -> None:
    (mine,) = grid(recipe.model_copy(update={"distillation": Means(power=1)}), {"seed": [1]})
    assert isinstance(mine.distillation, Means)
    assert str(mine) == "cs, distilled, λ = 0.5, Means, seed 1"
    assert DistillL2S.model_validate_json(mine.model_dump_json()) == mine
    signatures = {
        recipe.model_copy(update={"distillation": loss}).signature()
        for loss in (recipe.distillation, Means(), Means(power=1), Blind())
    }
    assert len(signatures) == 4
    assert json.loads(mine.model_dump_json())["distillation"]["type"] == f"{__name__}:Means"


def test_a_loss_may_be_built_otherwise(recipe: DistillL2S, tmp_path_factory: pytest.TempPathFactory) -> None:
    optimisation = recipe.optimisation.model_copy(update={"steps": 5})
    Blind.built.clear()
    mine = recipe.model_copy(update={"distillation": Blind(), "optimisation": optimisation})
    assert str(mine) == "cs, distilled, λ = 0.5, seed 1"
    mine.run(LocalRun(tmp_path_factory.mktemp("run")))
    assert Blind.built == [(32, 12)]


@pytest.mark.parametrize(
    ("name", "why"),
    [("nowhere:Loss", "cannot be imported: No module"), ("trainables.losses.own:OwnLoss", "does not."),
     (f"{__name__}:Nothing", "cannot be imported"), ("trainables.losses.regression:AlignedRegression", "does not.")],
)  # fmt: skip
def test_a_type_that_is_no_such_loss_is_one_sentence(recipe: DistillL2S, name: str, why: str) -> None:
    fields = recipe.model_dump() | {"distillation": {"kind": "own", "type": name}}
    with pytest.raises(ValidationError) as error:
        DistillL2S.model_validate(fields)
    sentence = explain(error.value)
    assert sentence.startswith("`type` must name a class that derives from OwnLoss, package.module:Class, but ")
    assert why in sentence
    assert "\n" not in sentence
