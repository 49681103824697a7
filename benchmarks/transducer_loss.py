"""Time and memory of the transducer's loss with all its gradients, and of the regression onto embeddings beside it.

The claims, on one thread: at a vocabulary of 4 000 the exact loss of an untrained joint network is at least 1.5 times
as quick as losses on materialised logits, in a tenth of their memory; that of a trained one, whose alignments are
sharp, at least 3 times, where the gradient of nodes is left out that paths visit with a probability of at most 10⁻⁷; at
BERT's 30 522 word pieces a step on one utterance of LibriSpeech, 308 frames and 40 tokens, adds at most 300 MB; and
with eq. 7 of arXiv 2202.07894 it takes at most 1.3 times as long as with eq. 9.
The peers: torchaudio's `rnnt_loss`; transformers' joint network and loss of Parakeet, which calls it.
The floor: three products of all nodes with the vocabulary, of which the exact loss has four; the gradient of W.

The joint network (`benchmarks/planted_joint.py`) and its product are part of the time. Each run has a process of its
own, whose time is that of its processor, and whose memory is its peak less what it had before. Subnormal numbers, of
which a loss on logits makes millions, are flushed to zero for all: as processors come, they would take the peers three
times as long, and ours no longer.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torchaudio.functional import rnnt_loss

from benchmarks.planted_joint import Planted, Shape, trained, untrained
from benchmarks.ratios import Claim, Measurement, alternate, ratios
from trainables.losses.embedding import Joint, Regression, TokenSynchronous
from trainables.losses.transducer import Limits
from trainables.sequences import Sequences

LEAST = 1e-7
PAGE = 4 / 1024
"""MB of memory that a process is given at once, at least."""
PEERS = {"torchaudio": "torchaudio's `rnnt_loss`", "parakeet": "transformers' Parakeet"}
PRODUCTS, GRADIENT = "4/3: three products with the vocabulary, and one again", "the gradient of W"
LOSS = "transducer loss at V 4 000"
TIME = {name: Claim(f"{LOSS}, exact: speed", peer, PRODUCTS, 1.5, "at least") for name, peer in PEERS.items()}
MEMORY = {name: Claim(f"{LOSS}, exact: memory", peer, GRADIENT, 10, "at least") for name, peer in PEERS.items()}
SHARP = Claim(f"{LOSS}, trained, least 1e-7: speed", PEERS["torchaudio"], PRODUCTS, 3, "at least")
STEP = "step at V 30 522, T 308, N 40"
FITS = Claim(f"{STEP}: memory", "3.1 GB of logits and gradient", GRADIENT, 0.3, "at most", "GB")
FORMS = Claim(f"{STEP}, eq. 7: time", "with eq. 9", "1.00", 1.3, "at most")
ACOUSTIC, LANGUAGE, TEACHER = 512, 640, 768
BATCH, UTTERANCE = Shape(8, 150, 30, 4000), Shape(1, 308, 40, 30_522)


@dataclass(frozen=True)
class Size:
    """The sizes of what is measured; by default those of the claims."""

    batch: Shape = BATCH
    steps: int = 250
    """Steps in which the joint network is trained before."""
    utterance: Shape = UTTERANCE


@dataclass(frozen=True)
class Cost:
    """What one run of an arm cost, and what it found."""

    seconds: float
    megabytes: float
    loss: float
    slope: float
    """The norm of the gradient of W."""


def torchaudios(given: Planted) -> Tensor:
    """The sum of losses, on logits of all nodes."""
    z = nn.functional.linear(torch.tanh(given.acoustic[:, :, None] + given.language[:, None]), given.weight, given.bias)
    tokens = given.tokens
    return rnnt_loss(z, tokens.values.int(), given.frames.int(), tokens.lengths.int(), blank=0, reduction="sum")


def parakeets(given: Planted) -> Tensor:
    """The sum of losses as transformers' model computes it after its projections."""
    # Imported here: it takes seconds, which the processes of the other arms have no need of.
    from transformers import ParakeetRNNTConfig
    from transformers.loss.loss_rnnt import ParakeetForRNNTLoss
    from transformers.models.parakeet.modeling_parakeet import ParakeetRNNTJointNetwork

    vocabulary, hidden = given.weight.shape
    config = ParakeetRNNTConfig(vocab_size=vocabulary, decoder_hidden_size=hidden, hidden_act="tanh", blank_token_id=0)
    with torch.device("meta"):
        network = ParakeetRNNTJointNetwork(config)
    swapped = {"head.weight": given.weight, "head.bias": given.bias}
    states = {
        "encoder_hidden_states": given.acoustic[:, :, None],
        "decoder_hidden_states": given.language[:, None],
    }
    logits = torch.func.functional_call(network, swapped, (), states)
    return ParakeetForRNNTLoss(logits, given.tokens.values, given.frames, given.tokens.lengths, 0, reduction="sum")


def ours(limits: Limits) -> Callable[[Planted], Tensor]:
    """The sum of our losses."""
    return lambda given: given.loss(limits).losses.sum()


def step(form: Regression) -> Callable[[Planted], Tensor]:
    """The sum of our losses and of L_Emb, of encoder and prediction states of the paper's widths."""

    def run(given: Planted) -> Tensor:
        torch.manual_seed(0)
        loss = form.build(acoustic=ACOUSTIC, language=LANGUAGE, teacher=TEACHER)
        of_acoustic, of_language = (nn.Linear(width, given.weight.shape[1]) for width in (ACOUSTIC, LANGUAGE))
        acoustic = Sequences(torch.randn(*given.acoustic.shape[:2], ACOUSTIC, requires_grad=True), given.frames)
        language = torch.randn(*given.language.shape[:2], LANGUAGE, requires_grad=True)
        prefixes = Sequences(language, given.tokens.lengths + 1)
        teacher = Sequences(torch.randn(*given.tokens.values.shape, TEACHER), given.tokens.lengths)
        projected = Planted(
            of_acoustic(acoustic.values), of_language(language), given.weight, given.bias, given.tokens, given.frames
        )
        found = projected.loss()
        return (found.losses + 0.01 * loss(acoustic, prefixes, teacher, found)).sum()

    return run


ARMS: Mapping[str, Callable[[Planted], Tensor]] = {
    "torchaudio": torchaudios,
    "parakeet": parakeets,
    "exact": ours(Limits()),
    "least": ours(Limits(least=LEAST)),
    "eq. 9": step(TokenSynchronous()),
    "eq. 7": step(Joint()),
}


def cost(arm: str, file: str) -> Cost:
    """Run an arm once in this process, on one thread, after a small run that loads what the first one loads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    run, given = ARMS[arm], Planted.load(Path(file))
    run(untrained(Shape(1, 3, 2, 10, given.weight.shape[1]))).backward()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begun = megabytes("VmRSS"), time.process_time()
    loss = run(given)
    loss.backward()
    spent, peak = time.process_time() - begun, megabytes("VmHWM")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    assert given.weight.grad is not None
    return Cost(spent, max(peak - before, PAGE), loss.item(), float(given.weight.grad.norm()))


def megabytes(key: str) -> float:
    """MB of this process as Linux has them: `VmRSS` now, `VmHWM` at most since the peak was reset."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:")]
    return int(line.split()[1]) / 1024


def alone(arm: str, file: str) -> Cost:
    """Run an arm once in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(cost, arm, file).result()


def measure(repeats: int, size: Size | None = None, run: Callable[[str, str], Cost] = alone) -> list[Measurement]:
    """Measure the claims, on the processor."""
    size = size or Size()
    with TemporaryDirectory(prefix="l2s-benchmark-") as folder:
        flat, sharp, utterance = (f"{folder}/{name}" for name in ("flat", "sharp", "utterance"))
        untrained(size.batch).save(Path(flat))
        untrained(size.utterance).save(Path(utterance))
        planted = trained(size.batch, size.steps)
        planted.save(Path(sharp))
        costs = _in_turn({"torchaudio": flat, "parakeet": flat, "exact": flat}, repeats, run)
        sharps = _in_turn({"torchaudio": sharp, "exact": sharp, "least": sharp}, repeats, run)
        steps = _in_turn({"eq. 9": utterance, "eq. 7": utterance}, repeats, run)
    note = f"{size.batch}, untrained; {_told(costs)}"
    measured = [
        Measurement(claim[peer], ratios(_each(costs[peer], what), _each(costs["exact"], what)), note)
        for peer in PEERS
        for claim, what in ((TIME, "seconds"), (MEMORY, "megabytes"))
    ]
    note = f"trained for {size.steps} steps, {100 * _visited(planted):.1f} % of nodes above {LEAST:g}; {_told(sharps)}"
    measured.append(
        Measurement(SHARP, ratios(_each(sharps["torchaudio"], "seconds"), _each(sharps["least"], "seconds")), note)
    )
    note = f"{size.utterance}, untrained; {_told(steps)}"
    peaks = tuple(max(pair) / 1000 for pair in zip(*(_each(of, "megabytes") for of in steps.values()), strict=True))
    forms = ratios(_each(steps["eq. 7"], "seconds"), _each(steps["eq. 9"], "seconds"))
    return [*measured, Measurement(FITS, peaks, note), Measurement(FORMS, forms, note)]


def _visited(given: Planted) -> float:
    """The share of nodes that paths visit with a probability above `LEAST`."""
    with torch.no_grad():
        found = given.loss()
    return float((found.blanks + found.tokens > LEAST).double().mean())


def _each(costs: Sequence[Cost], what: str) -> tuple[float, ...]:
    return tuple(getattr(cost, what) for cost in costs)


def _in_turn(arms: Mapping[str, str], repeats: int, run: Callable[[str, str], Cost]) -> dict[str, list[Cost]]:
    """What each of the arms cost in each of the repeats. Raises ValueError where the losses of a batch differ."""
    costs: dict[str, list[Cost]] = {name: [] for name in arms}

    def once(name: str, file: str) -> float:
        costs[name].append(run(name, file))
        return costs[name][-1].seconds

    alternate({name: partial(once, name, file) for name, file in arms.items()}, repeats, warm_up=False)
    for what in ("loss", "slope"):
        found = {name: getattr(of[0], what) for name, of in costs.items() if not name.startswith("eq")}
        # Of a trained joint network torchaudio's float32 lattice is off by a thousandth.
        if found and max(found.values()) - min(found.values()) > 5e-3 * max(found.values()):
            raise ValueError(f"The {what} must be the same in all arms, but is {found} instead.")
    return costs


def _told(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Medians in words."""
    seconds, megabytes = (
        {name: statistics.median(_each(of, what)) for name, of in costs.items()} for what in ("seconds", "megabytes")
    )
    return ", ".join(f"{name} {seconds[name]:.2f} s and {megabytes[name]:.0f} MB" for name in costs)
