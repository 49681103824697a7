"""The host never waits for the device inside a step.

Without a GPU, a step runs on tensors that have no values (PyTorch's device `meta`): whatever wants one on the host
(`.item()`, `.tolist()`, `nonzero`, a boolean index, a copy) raises. CTC is left out: PyTorch's own takes the lengths to
the host. On a GPU the waits are counted, and none may be in a line of ours.
"""

import warnings
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from trainables import testing
from trainables.corpora.batching import ByCount, TimeMasking
from trainables.losses.regression import AlignedRegression
from trainables.losses.transport import OptimalTransport
from trainables.optimisation import Optimisation
from trainables.recipes import probe
from trainables.recipes.distill_l2s import DistillL2STask
from trainables.students.ctc import FAMILIES, CTCStudent, Pretrained
from trainables.training import Meter, World, train_step

# transformers gives WavLM's attention masks of two types, of which torch warns.
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")

INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default}
ENCODERS = (*FAMILIES, *testing.BASES)
MICRO_BATCHES = 4
"""Of `train`."""
MOST = 12
"""Times that the host waits in a micro-batch: 7 in CTC forward, 3 backward, and twice for numbers in masks."""
ROOT = Path(__file__).parents[2] / "trainables"
TEACHER = 12
"""Features of the teacher's hidden states."""


class NoBooleanIndex(TorchDispatchMode):
    """A mask as an index, whose size the device must tell the host; without values that would go unnoticed."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1]):
            written = args[2].numel() if len(args) > 2 else None
            assert written == 1, f"{func} with a mask, and not to fill it with one value"
        return func(*args, **(kwargs or {}))


def task_of(family: str, distillation: AlignedRegression | OptimalTransport, folder: Path) -> DistillL2STask:
    model = testing.speech_encoder(family, folder / family)
    student = CTCStudent(encoder=Pretrained(model=str(model))).build(probe.VOCABULARY)
    dropped = (probe.VOCABULARY.blank, probe.VOCABULARY.unknown)
    loss = distillation.build(student=student.width, teacher=TEACHER, dropped=dropped)
    return DistillL2STask(student, probe.VOCABULARY, loss, 0.5).train()


def train(task: DistillL2STask, device: torch.device) -> Meter:
    """Two steps of two micro-batches."""
    optimisation, meter = Optimisation(steps=10, warmup=2, precision="float32"), Meter()
    batches = probe.noise(ByCount(utterances=4), longest=1.0, shares=2, masking=TimeMasking(), teacher=TEACHER)
    # The fused AdamW of training exists on real devices only.
    optimiser = torch.optim.SGD([{"params": task.to(device).parameters(), "peak": 1.0}])
    for step in range(2):
        train_step(
            task, optimiser, batches,
            step=step, seed=1, optimisation=optimisation, world=World(0, 1, device), meter=meter,
        )  # fmt: skip
    return meter


@pytest.mark.parametrize("distillation", [AlignedRegression(), OptimalTransport()], ids=lambda config: config.kind)
@pytest.mark.parametrize("family", ENCODERS)
def test_a_step_needs_no_value_of_a_tensor_on_the_device(
    family: str,
    distillation: AlignedRegression | OptimalTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # for the attention that there is on a GPU
    monkeypatch.setattr(functional, "ctc_loss", lambda log_probs, *_, **__: -log_probs.mean(dim=(0, 2)))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none without values
    task = task_of(family, distillation, tmp_path)
    with NoBooleanIndex():
        meter = train(task, torch.device("meta"))
    assert all(value.device.type == "meta" for value in meter.sums.values())


@pytest.mark.gpu
@pytest.mark.parametrize("family", ENCODERS)
def test_the_host_waits_for_ctc_and_masks_alone(family: str, tmp_path: Path) -> None:
    """CTC takes lengths to the host, forward and backward; transformers writes numbers of its own into masks."""
    task = task_of(family, AlignedRegression(), tmp_path)
    train(task, torch.device("cuda"))  # what is made once
    with warnings.catch_warnings(record=True) as waits:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train(task, torch.device("cuda"))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    synchronising = [wait for wait in waits if "called a synchronizing" in str(wait.message)]
    places = Counter(f"{Path(wait.filename).name}:{wait.lineno}" for wait in synchronising)
    ours = [wait.filename for wait in synchronising if Path(wait.filename).is_relative_to(ROOT)]
    assert not ours, places
    assert sum(places.values()) <= MOST * MICRO_BATCHES, places
