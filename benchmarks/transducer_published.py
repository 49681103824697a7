"""Time and memory of the transducer's loss on a GPU, beside those that were published of others'.

`python -m benchmarks.transducer_published` takes under four minutes on a data-centre GPU, and prints two tables. The
first has 500 tokens and batches of 30 utterances, as published at github.com/csukuangfj/transducer-loss-benchmarking: a
step from states of width 512 to all gradients, the mean of 20 batches, peak memory. There the lengths are those of
LibriSpeech's train-clean-100; here they are drawn like them, 12.7 s ± 3, 25 frames and 5 tokens a second. The GPU is
another, so torchaudio's loss is measured too. The second has BERT's 30 522 word pieces, for which the others would need
61 times their memory. k2's pruned loss is another loss: its bounds come from a simpler joint network.

`--tiny` runs the same on a few frames, on a processor too, whose figures mean nothing.
"""

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.planted_joint import Planted
from benchmarks.ratios import device, seconds
from benchmarks.transducer_loss import LEAST, megabytes, ours, torchaudios
from orchestrator.printing import escape_output
from trainables.losses.transducer import Limits
from trainables.sequences import Sequences

PUBLISHED = {
    "torchaudio": (544.2, 18_922), "k2, unpruned": (386.8, 22_057), "k2, pruned": (63.4, 3_820),
    "optimized_transducer": (377.0, 7_496), "warprnnt_numba": (299.4, 19_073), "warp-transducer": (275.9, 19_073),
    "warp-rnnt": (293.3, 18_934),
}  # fmt: skip
"""Milliseconds and MB of a batch of 30."""
SECONDS, DEVIATION, LONGEST, FRAMES, TOKENS = 12.7, 3.0, 24.5, 25, 5


@dataclass(frozen=True)
class Size:
    """The sizes of one table."""

    utterances: int
    hidden: int
    vocabulary: int
    batches: int = 20
    warm_up: int = 5
    longest: float = LONGEST
    """Seconds of an utterance at most."""


@dataclass(frozen=True)
class Row:
    """One implementation in one table."""

    implementation: str
    milliseconds: float
    megabytes: float


SMALL, BERT = Size(30, 512, 500), Size(16, 640, 30_522)
ARMS: Mapping[str, Callable[[Planted], Tensor]] = {
    "ours, exact": ours(Limits()),
    "ours, exact, 2²⁶ logits at once": ours(Limits(logits=2**26)),
    "ours, least 1e-7": ours(Limits(least=LEAST)),
}


def drawn(size: Size, number: int, where: torch.device) -> Planted:
    """A batch of utterances of unequal lengths, with states and weights of chance."""
    generator = torch.Generator().manual_seed(number)
    lasts = (SECONDS + DEVIATION * torch.randn(size.utterances, generator=generator)).clamp(1.5, LONGEST)
    lasts = lasts.clamp(max=size.longest)
    frames, tokens = (lasts * FRAMES).long(), (lasts * TOKENS).long().clamp(min=1)
    torch.manual_seed(number)
    states = [torch.rand(size.utterances, int(n), size.hidden) for n in (frames.max(), tokens.max() + 1)]
    spread = size.hidden**-0.5
    weight, bias = ((2 * torch.rand(size.vocabulary, *n) - 1) * spread for n in ((size.hidden,), ()))
    acoustic, language, weight, bias = (x.to(where).requires_grad_() for x in (*states, weight, bias))
    targets = torch.randint(1, size.vocabulary, (size.utterances, int(tokens.max())))
    of_tokens = Sequences(targets.to(where), tokens.to(where)).zero_padded()
    return Planted(acoustic, language, weight, bias, of_tokens, frames.to(where))


def measured(
    run: Callable[[Planted], Tensor], size: Size, where: torch.device, precision: AbstractContextManager[object]
) -> tuple[float, float]:
    """Milliseconds of a batch, the mean of so many, and the peak of memory in MB."""

    def step(given: Planted) -> None:
        with precision:
            loss = run(given)
        loss.backward()

    spent: list[float] = []
    peak = 0.0
    for number in range(-size.warm_up, size.batches):
        given = drawn(size, number + size.warm_up, where)
        _forget(where)
        took = seconds(partial(step, given))()
        if number >= 0:
            spent.append(took)
            peak = max(peak, _peak(where))
    return 1000 * statistics.mean(spent), peak


def _forget(where: torch.device) -> None:
    """Let the peak of memory begin anew."""
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def _peak(where: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 1e6 if where.type == "cuda" else megabytes("VmHWM")


def rows(size: Size, where: torch.device, arms: Mapping[str, Callable[[Planted], Tensor]]) -> list[Row]:
    """All arms in float32, and ours in bfloat16 too."""
    plain = nullcontext()
    found = [Row(name, *measured(run, size, where, plain)) for name, run in arms.items()]
    low = torch.autocast(where.type, torch.bfloat16)
    return [*found, Row("ours, exact, products in bfloat16", *measured(ARMS["ours, exact"], size, where, low))]


def table(title: str, found: Sequence[Row]) -> Table:
    """A table of these rows."""
    made = Table(title=title)
    for heading in ("implementation", "ms a batch", "peak MB"):
        made.add_column(heading)
    for row in found:
        made.add_row(row.implementation, f"{row.milliseconds:.1f}", f"{row.megabytes:,.0f}")
    return made


def main(*, tiny: bool = False, batches: int = 20) -> int:
    """Measure and print both tables, and their rows as a line of JSON. Returns the exit code: 2 without a GPU.

    Args:
        tiny: Take a few frames and tokens, on whatever there is.
        batches: Batches of which the mean is taken.
    """
    where = device()
    if where.type == "cpu" and not tiny:
        print("There must be a GPU, but there is none; `--tiny` runs without.", file=sys.stderr)
        return 2
    small, bert = (replace(size, batches=batches) for size in (SMALL, BERT))
    if tiny:
        small, bert = (replace(size, utterances=2, hidden=32, longest=1.6, warm_up=1) for size in (small, bert))
    name = torch.cuda.get_device_name() if where.type == "cuda" else "a processor"
    published = [Row(f"{of}, published", *figures) for of, figures in PUBLISHED.items()]
    first = rows(small, where, {"torchaudio": torchaudios, **ARMS})
    second = rows(bert, where, ARMS)
    Console(width=100).print(table(f"{small.vocabulary} tokens, on {name}", [*published, *first]))
    Console(width=100).print(table(f"{bert.vocabulary:,} tokens, {bert.utterances} utterances, on {name}", second))
    found = {"small": [asdict(row) for row in first], "bert": [asdict(row) for row in second]}
    print(json.dumps({"benchmark": "transducer_published", "device": name, "tiny": tiny, **found}))
    return 0


if __name__ == "__main__":
    escape_output()
    sys.exit(tyro.cli(main, prog="python -m benchmarks.transducer_published"))
