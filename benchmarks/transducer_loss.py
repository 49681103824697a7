"""Time and memory of the transducer's loss with all its gradients, and of the regression onto embeddings beside it.

The claims, on one thread: at a vocabulary of 4 000 the exact loss is at least 1.5 times as quick as losses on
materialised logits, in a tenth of their memory; with the gradient of nodes left out that paths visit with a probability
of at most 10⁻⁷, at least 3 times, where alignments are sharp; at BERT's 30 522 word pieces a step on one utterance of
LibriSpeech, 308 frames and 40 tokens, adds at most 300 MB; and with eq. 7 of arXiv 2202.07894 it takes at most 1.3
times as long as with eq. 9.
The peers: torchaudio's `rnnt_loss`; transformers' joint network and loss of Parakeet, which calls it.
The floor: three products of all nodes with the vocabulary, of which the exact loss has four; the gradient of W.

The joint network is a trained one (`benchmarks/planted_joint.py`), and its product is part of the time. Each run has a
process of its own, whose time is that of its processor, and whose memory is its peak less what it had before.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn
from torchaudio.functional import rnnt_loss
from transformers import ParakeetRNNTConfig
from transformers.loss.loss_rnnt import ParakeetForRNNTLoss
from transformers.models.parakeet.modeling_parakeet import ParakeetRNNTJointNetwork

from benchmarks.material import scratch
from benchmarks.planted_joint import Planted, Shape, trained, untrained
from benchmarks.ratios import Claim, Measurement, alternate, ratios
from trainables.losses.embedding import Joint, Regression, TokenSynchronous
from trainables.losses.transducer import Limits
from trainables.sequences import Sequences

LEAST = 1e-7
PEERS = {"torchaudio": "torchaudio's `rnnt_loss`", "parakeet": "transformers' Parakeet"}
PRODUCTS, GRADIENT = "4/3: three products with the vocabulary, and one again", "the gradient of W"
TIME = {
    name: Claim("transducer loss, exact, V 4 000: speed", peer, PRODUCTS, 1.5, "at least")
    for name, peer in PEERS.items()
}
MEMORY = {name: Claim("the same: memory", peer, GRADIENT, 10, "at least") for name, peer in PEERS.items()}
SHARP = Claim("transducer loss, least 1e-7, sharp alignments: speed", PEERS["torchaudio"], PRODUCTS, 3, "at least")
FITS = Claim("a step at V 30 522, T 308, N 40: memory", "3.1 GB of logits and gradient", GRADIENT, 0.3, "at most", "GB")
FORMS = Claim("the same step with eq. 7", "with eq. 9", "1.00", 1.3, "at most")
ACOUSTIC, LANGUAGE, TEACHER = 512, 640, 768
BATCH, UTTERANCE = Shape(8, 150, 30, 4000), Shape(1, 308, 40, 30_522)


@dataclass(frozen=True)
class Size:
    """The sizes of what is measured; by default those of the claims."""

    batch: Shape = BATCH
    steps: int = 250
    """Of training the joint network before."""
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
    run, given = ARMS[arm], Planted.load(Path(file))
    run(untrained(Shape(1, 3, 2, 10, given.weight.shape[1]))).backward()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begun = _megabytes("VmRSS"), time.process_time()
    loss = run(given)
    loss.backward()
    spent, peak = time.process_time() - begun, _megabytes("VmHWM")
    torch.set_num_threads(threads)
    assert given.weight.grad is not None
    return Cost(spent, peak - before, loss.item(), float(given.weight.grad.norm()))


def _megabytes(key: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:")]
    return int(line.split()[1]) / 1024


def alone(arm: str, file: str) -> Cost:
    """Run an arm once in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(cost, arm, file).result()


def measure(repeats: int, size: Size | None = None, run: Callable[[str, str], Cost] = alone) -> list[Measurement]:
    """Measure the claims, on the processor."""
    size = size or Size()
    with scratch() as folder:
        batch, utterance = str(folder / "batch"), str(folder / "utterance")
        planted = trained(size.batch, size.steps)
        planted.save(Path(batch))
        untrained(size.utterance).save(Path(utterance))
        with torch.no_grad():
            found = planted.loss()
        kept = float((found.blanks + found.tokens > LEAST).double().mean())
        arms = {"torchaudio": batch, "parakeet": batch, "exact": batch, "least": batch}
        costs = _in_turn(arms, repeats, run)
        steps = _in_turn({"eq. 9": utterance, "eq. 7": utterance}, repeats, run)
    _agree(costs)
    spent, held = (
        {name: tuple(getattr(c, what) for c in all_) for name, all_ in costs.items()}
        for what in ("seconds", "megabytes")
    )
    note = f"{size.batch}, trained for {size.steps} steps, {100 * kept:.1f} % of nodes above {LEAST:g}; {_told(costs)}"
    measured = [Measurement(SHARP, ratios(spent["torchaudio"], spent["least"]), note)]
    for name in PEERS:
        measured.append(Measurement(TIME[name], ratios(spent[name], spent["exact"]), note))
        measured.append(Measurement(MEMORY[name], ratios(held[name], held["exact"]), note))
    note = f"{size.utterance}, untrained; {_told(steps)}"
    peaks = tuple(max(c.megabytes for c in pair) / 1000 for pair in zip(*steps.values(), strict=True))
    forms = ratios(*(tuple(c.seconds for c in steps[form]) for form in ("eq. 7", "eq. 9")))
    return [*measured, Measurement(FITS, peaks, note), Measurement(FORMS, forms, note)]


def _in_turn(arms: Mapping[str, str], repeats: int, run: Callable[[str, str], Cost]) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {name: [] for name in arms}

    def once(name: str, file: str) -> float:
        costs[name].append(run(name, file))
        return costs[name][-1].seconds

    alternate({name: lambda n=name, f=file: once(n, f) for name, file in arms.items()}, repeats, warm_up=False)
    return {name: costs[name] for name in arms}


def _agree(costs: Mapping[str, list[Cost]]) -> None:
    """Raises ValueError where arms found another loss, or another gradient."""
    for what in ("loss", "slope"):
        found = {name: getattr(of[0], what) for name, of in costs.items()}
        if max(found.values()) - min(found.values()) > 1e-3 * max(found.values()):
            raise ValueError(f"The {what} must be the same in all arms, but is {found} instead.")


def _told(costs: Mapping[str, list[Cost]]) -> str:
    """Medians in words."""
    medians = {
        name: [statistics.median(getattr(c, what) for c in of) for what in ("seconds", "megabytes")]
        for name, of in costs.items()
    }
    return ", ".join(f"{name} {seconds:.2f} s {megabytes:.0f} MB" for name, (seconds, megabytes) in medians.items())
