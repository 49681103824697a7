"""The base of models with a CTC head that transformers does not have: waveforms in, logits out."""

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from trainables.sequences import Sequences


class WaveformsForCTC(PreTrainedModel):
    """Waveforms at 16 kHz in, logits out: all features are taken inside, over the clip alone.

    A model has its encoder under its `base_model_prefix`, and its head as `lm_head`.
    """

    main_input_name = "input_values"
    _supports_sdpa = True

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None) -> CausalLMOutput:
        """Logits (batch, frames, vocabulary) of waveforms (batch, samples); the mask is 1 on the samples of each."""
        batch, samples = input_values.shape
        whole = torch.full((batch,), samples, device=input_values.device)
        lengths = whole if attention_mask is None else attention_mask.sum(dim=1)
        hidden = self.base_model(Sequences(input_values, lengths), None)
        return CausalLMOutput(logits=self.lm_head(hidden.values))
