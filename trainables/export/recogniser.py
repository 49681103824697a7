"""The card of a speech recogniser with a CTC head."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from trainables.export.card import Card, Dataset, is_place, place_name
from trainables.students.ctc import Encoder

TASK = "automatic-speech-recognition"


def recogniser(
    name: str,
    language: str,
    encoder: Encoder,
    dataset: Dataset,
    recipe: Mapping[str, Any],
    *,
    loaded_by: type[PreTrainedModel],
    method: str,
    precision: str,
    choice: str,
) -> Card:
    """The card of an `encoder` with a CTC head, which `loaded_by` loads, trained and tested on a language of `dataset`.

    `recipe` are the recipe's fields, `precision` is that of the matrix products in the test, and `choice` a sentence
    on which checkpoint the model is.
    """
    scratch, model = encoder.kind == "scratch", place_name(encoder.model)
    derived = "" if scratch else f" The weights also derive from {model}, whose own licence applies to them too."
    return Card(
        title=f"Speech recogniser, {name}",
        about=f"{model} with a CTC head over characters, for 16 kHz speech in the language `{language}`.",
        method=method,
        task=TASK,
        library="transformers",
        name=name,
        language=language,
        base_model=None if scratch or is_place(encoder.model) else encoder.model,
        dataset=dataset,
        protocol="greedy decoding, text normalised as in training",
        tested=f"Tested with matrix products in {precision}, where the device has it.",
        use=_use(loaded_by, precision),
        data=f"Trained on the train split of `{dataset.config}` in: {dataset.name}. "
        f"Licence of the recordings: {dataset.licence}.{derived}",
        choice=choice,
        recipe=recipe,
    )


def _use(loaded_by: type[PreTrainedModel], precision: str) -> str:
    name, module = loaded_by.__name__, loaded_by.__module__
    needed = imported = ""
    if not module.startswith("transformers."):
        needed = f"`{name}` is not in transformers: it needs Distill-L2S's code.\n\n"
        imported = f"import {module}  # makes transformers know {name}\n"
    return (
        f"{needed}```python\nimport soundfile\n{imported}from transformers import pipeline\n\n"
        f'recognise = pipeline("{TASK}", model="FOLDER")\n'
        'channels, rate = soundfile.read("FILE.wav", dtype="float32", always_2d=True)\n'
        'print(recognise({"raw": channels.mean(axis=1), "sampling_rate": rate})["text"])\n```\n\n'
        "For more than 30 s add `chunk_length_s=30`. Two spaces in the text stand for one. "
        "With Distill-L2S's code, from sound files of any format and length:\n\n"
        f"```\npython -m trainables.transcribe --model FOLDER --precision {precision} FILE.mp3\n```"
    )
