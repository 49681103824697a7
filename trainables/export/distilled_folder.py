"""A distilled and fine-tuned student as a folder that transformers loads: by its own classes where it has them."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from trainables.distilled_ctc import DistilledCTCConfig
from trainables.export.card import Card, Dataset, place_name
from trainables.export.ctc_folder import read, write
from trainables.export.recogniser import recogniser
from trainables.export.speed import speed
from trainables.students.ctc import NO_DROPOUT, Pretrained
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


def product(
    student: DistilledStudent,
    weights: Path,
    folder: Path,
    *,
    architecture: PretrainedConfig,
    standardised: bool,
    teacher: str,
    name: str,
    language: str,
    dataset: Dataset,
    recipe: Mapping[str, Any],
    method: str,
    precision: str,
    choice: str,
) -> Card:
    """The same, with a card that says how quick the exported model is on this machine, in float32 and in int8.

    `teacher` is the folder or the hub name of the model that the student was distilled from; the others are for the
    card, as in `recogniser`.
    """
    loaded_by = export(student, weights, folder, architecture=architecture, standardised=standardised)
    card = recogniser(
        name, language, Pretrained(model=teacher), dataset, recipe, loaded_by=loaded_by, method=method,
        precision=precision, choice=choice,
    )  # fmt: skip
    about = (
        f"{student.described}, distilled from {place_name(teacher)}, with a CTC head over characters, for 16 kHz "
        f"speech in the language `{language}`."
    )
    return replace(card, about=about, use=f"{card.use}\n\n{speed(folder)}")
