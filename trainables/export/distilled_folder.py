"""A distilled and fine-tuned student as a folder that transformers loads: by its own classes where it has them."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from trainables.distilled_ctc import NO_DROPOUT, DistilledCTCConfig
from trainables.export.ctc_folder import read, write
from trainables.students.distilled import DistilledStudent
from trainables.students.encoders import WaveformEncoder


def export(
    student: DistilledStudent, weights: Path, folder: Path, *, architecture: PretrainedConfig, standardised: bool
) -> type[PreTrainedModel]:
    """Write a `student` with a CTC head, whose `weights` a trial has kept, into `folder`.

    `architecture` is the config of its teacher, and `standardised` says how that one takes waveforms. Returns the class
    that loads the folder: one of transformers' for students on convolutions over waveforms, else `DistilledForCTC`.
    Raises ValueError when the weights are damaged, or not of this student.
    """
    vocabulary, tensors = read(weights)
    fields: dict[str, Any] = {
        "vocab_size": len(vocabulary), "pad_token_id": vocabulary.blank, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    with torch.device("meta"):
        encoder = student.build(architecture=architecture, regularisation=NO_DROPOUT)
    if not isinstance(encoder, WaveformEncoder):
        config = DistilledCTCConfig.of(student, architecture, standardised=standardised, **fields)
        return write(config, vocabulary, tensors, "encoder.", weights, folder, standardised=False)
    config = deepcopy(encoder.model.config)
    # Else there is no embedding of hidden frames, which the student has; at inference nothing is hidden.
    config.update({**fields, "mask_time_prob": 0.05})
    return write(config, vocabulary, tensors, "encoder.model.", weights, folder, standardised=standardised)
