"""Error rates as summed edits over summed lengths, over all ranks: never a mean of rates."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jiwer
import torch
from torch import distributed


@dataclass
class ErrorCounts:
    """Edits and reference lengths so far, in characters (spaces counted) and in words."""

    counts: torch.Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    def add(self, references: Sequence[str], hypotheses: Sequence[str]) -> None:
        """Count a batch. References must not be empty."""
        characters = jiwer.process_characters(list(references), list(hypotheses))
        words = jiwer.process_words(list(references), list(hypotheses))
        for i, output in enumerate((characters, words)):
            edits = output.substitutions + output.deletions + output.insertions
            length = output.substitutions + output.deletions + output.hits
            self.counts[2 * i : 2 * i + 2] += torch.tensor([edits, length], dtype=torch.float64)

    def rates(self) -> dict[str, float]:
        """CER and WER in percent, over all ranks."""
        edits, characters, word_edits, words = reduced(self.counts).tolist()
        return {"cer": 100 * edits / max(characters, 1), "wer": 100 * word_edits / max(words, 1)}


def reduced(sums: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks."""
    if not distributed.is_initialized():
        return sums
    # NCCL reduces only what lies on its device.
    total = sums.to("cuda") if distributed.get_backend() == "nccl" else sums.clone()
    distributed.all_reduce(total)
    return total.cpu()
