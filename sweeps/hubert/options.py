"""Options of the sweep over HuBERT's students."""

from pathlib import Path
from typing import Literal

from orchestrator.cli import StudyOptions


class Options(StudyOptions):
    """Options of the sweep over students, losses and amounts of transcribed speech."""

    preset: Literal["paper", "mini"] = "paper"
    """`paper`: HuBERT base and LibriSpeech (§4.1). `mini`: Whisper tiny.en and the English miniature, on a CPU."""
    tables: tuple[Literal["2", "3", "5", "controls"], ...] = ("2",)
    """Tables to make; cells that are in several run once. `controls` is not the paper's: with a teacher that hears
    another clip or knows nothing, with hard labels, with τ in the student, beside Table 2's D&T with both losses."""
    seeds: tuple[int, ...] = (1,)
    """Seeds, of the distillation and of the fine-tuning; with several, a cell of a table is their mean."""
    similarity_clips: int = 100
    """Clips of the first test set on which layers are compared before and after fine-tuning (Figure 3, of Table 2's D&T
    students); 0 for no comparison."""
    ceiling: bool = False
    """Fine-tune the teacher itself too, as a further row of Table 2."""
    steps: int | None = None
    """Optimiser steps of the fine-tuning, those of the distillation, warm-ups and evaluations in proportion; by default
    the preset's."""
    lm: str | None = None
    """ARPA file of the n-gram that tests are decoded with too; by default LibriSpeech's `4-gram.arpa.gz` if it is in
    the folder of `data`, or else a 4-gram of transcripts: train-clean-100's, in the miniature those of all speech."""
    lexicon: Path | None = None
    """Words and spellings for the ARPA file, as fairseq has them; by default its words, by letters."""
    data: Path | None = None
    """Folder with `LibriSpeech` and `librispeech_finetuning`, Libri-light's limited sets."""
    teacher: str | None = None
    """fairseq's HuBERT as a .pt file, with its own hidden units; or a speech encoder of the wav2vec family or Whisper,
    a folder or a hub name, whose hidden units are clusters."""
    teacher_sha256: str | None = None
    """Digest of the .pt file, or of the teacher's pytorch_model.bin where there are no safetensors, that you trust."""
