"""Hidden units: the classes that HuBERT predicts for each frame, and a teacher's distribution over them (eq. 1 and 4).

A model that was not trained on hidden units can be given some: clusters of its last hidden states (`clusters.py`).
"""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from trainables.sequences import Sequences

FILE = "hidden_units.safetensors"


class HiddenUnits(nn.Module):
    """p_t = softmax(cos(W_e h + b_e, l) / τ) over the units, of the teacher's last hidden states h (eq. 4).

    The bias is HuBERT's own, though the paper does not write it. The embeddings l are made unit vectors once, so that
    the cosine is one matrix product, (frames, d) by (d, units): nothing of frames × units × d is ever held.
    """

    def __init__(
        self,
        projection: Float[Tensor, "d features"],
        bias: Float[Tensor, " d"],
        embeddings: Float[Tensor, "units d"],
        temperature: float,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("projection", projection.float())
        self.register_buffer("bias", bias.float())
        self.register_buffer("embeddings", functional.normalize(embeddings.float(), dim=1))

    @property
    def count(self) -> int:
        """Units there are."""
        return len(self.get_buffer("embeddings"))

    def without_first(self, count: int) -> "HiddenUnits":
        """The same without the first `count` units, over whose absence p_t is a softmax again.

        Raises ValueError where fewer than two are left.
        """
        if self.count - count < 2:
            raise ValueError(
                f"Hidden units must be at least {count + 2} to lose {count}, but are {self.count} instead."
            )
        embeddings = self.get_buffer("embeddings")[count:]
        return HiddenUnits(self.get_buffer("projection"), self.get_buffer("bias"), embeddings, self.temperature)

    @override
    def forward(self, hidden: Sequences) -> Sequences:
        """Log-probabilities (batch, frames, units) of hidden states (batch, frames, features), in float32."""
        with torch.autocast(hidden.values.device.type, enabled=False):
            embedded = functional.linear(hidden.values.float(), self.get_buffer("projection"), self.get_buffer("bias"))
            similarity = functional.normalize(embedded, dim=2) @ self.get_buffer("embeddings").T
            return Sequences((similarity / self.temperature).log_softmax(dim=2), hidden.lengths)

    def save(self, folder: Path) -> None:
        """Write them into `folder`, whole."""
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(tensors | {"temperature": torch.tensor(self.temperature)}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "HiddenUnits":
        """The hidden units that `save` wrote into a folder. Raises ValueError when they are missing or damaged."""
        try:
            found = load_file(folder / FILE)
            temperature = float(found["temperature"])
            return cls(found["projection"], found["bias"], found["embeddings"], temperature)
        except (OSError, KeyError, SafetensorError) as error:
            raise ValueError(f"Hidden units must be whole, but {folder / FILE} is not: {error}.") from error
