"""Text from sound files by an exported model: `python -m trainables.transcribe --model FOLDER FILE …`."""

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CTC_MAPPING,
    AutoFeatureExtractor,
    AutomaticSpeechRecognitionPipeline,
    AutoModelForCTC,
    AutoTokenizer,
)

import trainables.distilled_ctc
import trainables.whisper_ctc  # noqa: F401 - so that transformers knows them
from trainables.corpora.audio import SAMPLE_RATE, UnusableAudio, decode
from trainables.corpora.filters import frames_of
from trainables.corpora.text import BLANK, DELIMITER, UNKNOWN, CharacterVocabulary
from trainables.decoding.decoder import Fused, Fusion
from trainables.decoding.with_ngram import NgramDecoding, of_file
from trainables.printing import escape_output
from trainables.sequences import Sequences
from trainables.students.attention import attention
from trainables.students.frames import Frames
from trainables.students.quantised import quantised
from trainables.training import World
from trainables.weights import check, family, locate

WINDOW = 30.0
"""Seconds; a longer recording is recognised in windows that overlap by a sixth on either side (Whisper's limit)."""
USUAL = Fusion(0.5, 0.0)
"""How much a language model counts where nobody says it."""


class _Pipeline(AutomaticSpeechRecognitionPipeline):
    """transformers' own, but it leaves out w2v-BERT's last frame where that is half padding."""

    def _forward(self, model_inputs: dict[str, Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        features, mask = "input_features" in model_inputs, model_inputs["attention_mask"]
        outputs = super()._forward(model_inputs, *arguments, **options)
        if features:
            outputs["tokens"] = outputs["tokens"][:, : int(mask.sum())]
        return outputs


class Recogniser:
    """An exported model, or any other with a CTC head, in evaluation mode on this machine's best device.

    In int8 that is the processor, and the model's linear layers are quantised when it is loaded.
    """

    def __init__(
        self, model: str, precision: str = "float32", decoding: NgramDecoding | None = None, fusion: Fusion = USUAL
    ) -> None:
        """Load from a folder or a hub name; with `decoding`, a word n-gram decides with what is heard, by `fusion`.

        Raises ValueError when it is not a recogniser with a CTC head, or is not whole, or the n-gram cannot be used.
        """
        folder = check(locate(model), bin_sha256=None)
        kind = family(folder)
        if kind not in CONFIG_MAPPING or (config := CONFIG_MAPPING[str(kind)]) not in MODEL_FOR_CTC_MAPPING:
            raise ValueError(f"A model must be a recogniser with a CTC head, but {model} is {kind!r}.")
        try:
            tokenizer, extractor = AutoTokenizer.from_pretrained(folder), AutoFeatureExtractor.from_pretrained(folder)
        except (ValueError, OSError, TypeError) as error:  # the last where there is no vocabulary
            raise ValueError(f"A model must have a tokenizer and a feature extractor, but {model} has not.") from error
        network, info = AutoModelForCTC.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True,
            attn_implementation=attention(MODEL_FOR_CTC_MAPPING[config]),
        )  # fmt: skip
        # transformers would draw them at random: a pretrained encoder without a head would babble.
        if missing := sorted(name for name in info["missing_keys"] if "masked_spec_embed" not in name):
            raise ValueError(f"A model must have all its weights, but {model} lacks {missing[0]}.")
        self.world, self.precision, self.frames = World.here(), precision, Frames.of(network.config)
        device = self.world.device
        if precision == "int8":
            network, device, self.precision = quantised(network), torch.device("cpu"), "float32"
        self.fused, self.heard = None, list[Tensor]()
        if decoding is not None:
            self.fused = Fused(decoding.build(_vocabulary(tokenizer, model), ()), fusion)
            network.register_forward_hook(lambda _, __, output: self.heard.append(output.logits))
        self.pipeline = _Pipeline(network, feature_extractor=extractor, tokenizer=tokenizer, device=device)

    def __call__(self, file: Path) -> str:
        """The text of a sound file of any rate and length, of a format that libsndfile reads.

        Raises UnusableAudio when there is nothing in it to recognise, or too much for an n-gram.
        """
        samples = decode(file, longest=math.inf)
        seconds = len(samples) / SAMPLE_RATE
        if not min(frames_of(len(samples)), self.frames.count(len(samples))):
            raise UnusableAudio("short clip", f"{seconds:.3f} s hold no frame")
        # Only where it must: windows are cut to whole frames, which may cost a clip its last one.
        window = WINDOW if seconds > WINDOW else 0.0
        if self.fused and window:
            raise UnusableAudio("long clip", f"{seconds:.1f} s; with a language model there may be {WINDOW:g} at most")
        self.heard.clear()  # of a file on which something failed after the model had heard it
        with self.world.precision(self.precision):
            output: Any = self.pipeline(samples.astype(np.float32) / 32768, chunk_length_s=window)
        if self.fused:
            logits = self.heard[0][:, : self.frames.count(len(samples))]
            return self.fused(Sequences(logits, torch.tensor([logits.shape[1]])))[0]
        # Between two delimiters with a blank in between, the pipeline writes two spaces.
        return " ".join(output["text"].split())


def _vocabulary(tokenizer: Any, model: str) -> CharacterVocabulary:
    """The letters of a model that this project exported. Raises ValueError for any other."""
    tokens = tuple(sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__))
    if tokens[-2:] != ("", BLANK) or DELIMITER not in tokens:  # an export writes nothing for what is unknown
        raise ValueError(
            f"To be decoded with a language model, a model must have the letters of one that this project exported, "
            f"{DELIMITER} among them and {BLANK} last, but {model} has {', '.join(tokens[-3:])} last."
        )
    return CharacterVocabulary((*tokens[:-2], UNKNOWN, BLANK))


def main(arguments: list[str] | None = None) -> int:
    """Print the text of each file; with several, the file's name and a tab before it.

    Returns the exit code: 0, 1 when a file cannot be used (the others are done all the same), 2 for such a model.
    """
    escape_output()
    parser = argparse.ArgumentParser(prog="python -m trainables.transcribe", description=__doc__)
    parser.add_argument("--model", required=True, metavar="FOLDER", help="what sweeps/export.py wrote")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "int8"), default="float32",
        help="of matrix products; bfloat16, where the device has it, is what the recipes are tested in; int8 is for "
        "processors, where it is the quickest",
    )  # fmt: skip
    parser.add_argument("--lm", metavar="FILE", help="an ARPA file of word n-grams to decode with, plain or in gzip")
    parser.add_argument(
        "--lexicon", type=Path, metavar="FILE", help="its words and their spellings; by default its words by letters"
    )
    parser.add_argument(
        "--lm-weight", type=float, default=USUAL.weight, metavar="X",
        help="of its natural logarithms; the study's table of what was tuned has one for each trial",
    )  # fmt: skip
    parser.add_argument("--word-score", type=float, default=USUAL.word_score, metavar="X", help="added for each word")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="WAV, FLAC, OGG or MP3")
    options = parser.parse_args(arguments)
    try:
        if options.lm is None and options.lexicon is not None:
            raise ValueError("`--lexicon` is of the words of `--lm`, which must be given, but is not.")
        decoding = None if options.lm is None else of_file(options.lm, options.lexicon)
        fusion = Fusion(options.lm_weight, options.word_score)
        recogniser = Recogniser(options.model, options.precision, decoding, fusion)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    code = 0
    for file in options.files:
        try:
            text = recogniser(file)
        except Exception as error:  # what one file does to a decoder, the model or the memory must not stop the others
            print(f"{file} cannot be used: {_why(error)}", file=sys.stderr)
            code = 1
            continue
        try:
            print(f"{file}\t{text}" if len(options.files) > 1 else text, flush=True)
        except BrokenPipeError:  # whoever reads, such as `head`, has read enough; Python would complain at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return code
    return code


def _why(error: Exception) -> str:
    """One line on an error; one of a library has its type before it, since its words may be none."""
    if isinstance(error, UnusableAudio):
        return str(error)
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])


if __name__ == "__main__":
    sys.exit(main())
