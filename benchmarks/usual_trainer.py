"""Fine-tuning as the usual scripts do it: transformers' `Trainer`, a padding collator, float32 lists."""

import gc
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)
from typing_extensions import override

from benchmarks.distillation_loss import FrameByFrame
from benchmarks.material import LONGEST, Material
from benchmarks.ratios import device
from trainables.corpora.audio import SAMPLE_RATE
from trainables.sequences import Sequences
from trainables.teachers.language_model import TextEncoder


def processor(material: Material, folder: Path) -> Any:
    """The feature extractor and the tokenizer for the material's vocabulary, a `Wav2Vec2Processor`."""
    path = folder / "vocab.json"
    path.write_text(json.dumps({token: i for i, token in enumerate(material.vocabulary.tokens)}))
    return Wav2Vec2Processor(
        feature_extractor=Wav2Vec2FeatureExtractor(return_attention_mask=True),
        tokenizer=Wav2Vec2CTCTokenizer(str(path), word_delimiter_token="|"),
    )


def dataset(material: Material, kind: Any) -> Dataset:
    """The training split as the CTC example prepares it: normalised float32 values and labels, with their length."""
    rows: dict[str, list[Any]] = {name: [] for name in ("input_values", "input_length", "labels", "text")}
    for i, text in enumerate(material.train.texts):
        waveform = material.train.audio(i).astype(np.float32) / 32768
        values = kind(waveform, sampling_rate=SAMPLE_RATE).input_values[0]
        for name, value in zip(rows, (values, len(values), kind(text=text).input_ids, text), strict=True):
            rows[name].append(value)
    return Dataset.from_dict(rows)


@dataclass
class PaddingCollator:
    """The collator of transformers' CTC example, which also notes what it is given."""

    processor: Any
    """A `Wav2Vec2Processor`, whose types do not admit what its documentation does."""
    padding: Literal["longest", "max_length"] = "longest"
    teacher: TextEncoder | None = None
    """The teacher whose tokens are wanted too, if any."""
    seconds: list[float] = field(default_factory=list)
    """Seconds of audio in each batch, padding not counted."""

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Pad rows of `dataset` to a batch."""
        most = int(LONGEST * SAMPLE_RATE) if self.padding == "max_length" else None
        audio = [{"input_values": feature["input_values"]} for feature in features]
        batch = dict(self.processor.pad(audio, padding=self.padding, max_length=most, return_tensors="pt"))
        labels = self.processor.pad(
            labels=[{"input_ids": feature["labels"]} for feature in features], padding=True, return_tensors="pt"
        )
        batch["labels"] = labels["input_ids"].masked_fill(labels["attention_mask"].ne(1), -100)
        if self.teacher is not None:
            texts = [feature["text"] for feature in features]
            tokens = self.teacher.tokenizer(texts, padding=True, return_tensors="pt")
            batch |= {"tokens": tokens["input_ids"], "tokens_mask": tokens["attention_mask"]}
        self.seconds.append(sum(len(feature["input_values"]) for feature in features) / SAMPLE_RATE)
        return batch


class Distilled(nn.Module):
    """A student with the teacher inside, read at each step, and the loss of a loop over utterances and frames."""

    def __init__(self, student: Any, teacher: TextEncoder, weight: float) -> None:
        super().__init__()
        self.student, self.teacher, self.weight = student, teacher.encoder.requires_grad_(False), weight
        projection = nn.Linear(student.config.hidden_size, self.teacher.config.hidden_size)
        self.distillation = FrameByFrame(projection, (student.config.vocab_size - 1, student.config.vocab_size - 2))

    def forward(self, tokens: Tensor, tokens_mask: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """The two losses of a batch of `PaddingCollator`."""
        output = self.student(**inputs, output_hidden_states=True)
        with torch.no_grad():
            text = self.teacher(input_ids=tokens, attention_mask=tokens_mask).last_hidden_state
        lengths = self.student._get_feat_extract_output_lengths(inputs["attention_mask"].sum(dim=1))
        distances = self.distillation(
            Sequences(output.hidden_states[-1], lengths), Sequences(text, tokens_mask.sum(dim=1)),
            output.logits.argmax(dim=2),
        )  # fmt: skip
        return {"loss": output.loss + self.weight * distances.mean(), "logits": output.logits}


class Clock(TrainerCallback):
    """Counts the seconds of the training loop."""

    seconds = 0.0

    @override
    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.seconds -= time.perf_counter()

    @override
    def on_train_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds += time.perf_counter()


def student(material: Material) -> Any:
    """The material's student as transformers has it, with the dropout and the masks of its recipe."""
    config, recipe = material.recipe.student.regularisation, material.recipe
    model = Wav2Vec2ForCTC.from_pretrained(
        recipe.student.encoder.model, vocab_size=len(material.vocabulary), pad_token_id=material.vocabulary.blank,
        ctc_loss_reduction="mean", attention_dropout=config.attention, hidden_dropout=config.hidden,
        activation_dropout=config.activation, feat_proj_dropout=config.projection, layerdrop=config.layers,
        final_dropout=0.0, mask_time_prob=recipe.masking.probability, mask_time_length=recipe.masking.span,
    )  # fmt: skip
    model.freeze_feature_encoder()
    return model


def throughput(
    model: nn.Module, rows: Dataset, collator: PaddingCollator, material: Material, folder: Path, *, grouped: bool,
    seed: int,
) -> float:  # fmt: skip
    """Audio-seconds per second, with as many clips a step, as many steps and the same precision as the material's."""
    gc.collect()  # a trainer and its model hold each other, and the one before is still there
    optimisation, clock = material.recipe.optimisation, Clock()
    collator.seconds.clear()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder / "trainer"), seed=seed, max_steps=optimisation.steps,
            per_device_train_batch_size=material.recipe.batching.usual(LONGEST)[0],
            train_sampling_strategy="group_by_length" if grouped else "random", length_column_name="input_length",
            # Else the column of lengths is gone before the sampler looks for it, and it reads every row instead.
            remove_unused_columns=False,
            learning_rate=optimisation.learning_rate, bf16=material.bfloat16(), use_cpu=device().type == "cpu",
            save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
        ),
        data_collator=collator, train_dataset=rows, callbacks=[clock],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)  # what it prints would stand in the table's way
    trainer.train()
    # A batch more than there are steps has been fetched, which nothing was trained on.
    return sum(collator.seconds[: optimisation.steps]) / clock.seconds
