"""The study at the paper's size and in miniature, each with the amounts of transcribed speech that its tables have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import soundfile

from sweeps.commonvoice20 import shortened
from sweeps.hubert.options import Options
from trainables import miniature
from trainables.corpora.batching import BySeconds, ChannelMasking, TimeMasking
from trainables.corpora.librispeech import LibriLight, LibriSpeech
from trainables.corpora.text import LettersAndApostrophes
from trainables.decoding.language import FromCorpus
from trainables.decoding.with_ngram import NgramDecoding, of_file
from trainables.losses.prediction_heads import LayerToLayer
from trainables.optimisation import Linear, Optimisation, TriStage
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.finetune_ctc import FineTuneCtc
from trainables.students.ctc import Regularisation
from trainables.students.distilled import DeepThin
from trainables.teachers.clusters import Clusters
from trainables.teachers.speech import HubertFromFairseq, SpeechModel
from trainables.teachers.states import Cached

FOUR_GRAM = "4-gram.arpa.gz"
"""LibriSpeech's 4-gram, of the text of its books, as https://openslr.org/11 has it."""
ALL_OF_IT = ("train-clean-100", "train-clean-360", "train-other-500")


@dataclass(frozen=True)
class Amount:
    """A column of a table: the speech with transcripts, and what is done with it."""

    name: str
    heading: str
    fields: dict[str, Any]
    """Fields of the fine-tuning."""
    where: dict[str, Any]
    """The same, for whoever looks for its trials."""


def paper(options: Options) -> tuple[FineTuneCtc, list[Amount]]:
    """§4.1, with what only the released code or fairseq's recipes say."""
    root = str(options.data)
    books = LibriSpeech(root=root, train=ALL_OF_IT, valid="dev-clean", tests=())
    teacher = listener(options, "facebook/hubert-base-ls960")
    hour, ten = (LibriLight(root=root, limited=root, amount=amount) for amount in ("1h", "10h"))
    base = FineTuneCtc(
        corpus=hour, start=DistilHubert(corpus=books, teacher=teacher), normaliser=LettersAndApostrophes(),
        ngram=decoding(options, LibriSpeech(root=root, tests=())),
    )  # fmt: skip
    optimisation = base.optimisation
    slow = optimisation.model_copy(update={"learning_rate": 2e-5})
    long = optimisation.model_copy(update={"steps": 80_000, "evaluate_every": 8_000})
    hundred = LibriSpeech(root=root)
    return base, [
        Amount("1h", "1 h", _fields(hour, slow), {"corpus.amount": "1h"}),
        Amount("10h", "10 h", _fields(ten, optimisation), {"corpus.amount": "10h"}),
        Amount("100h", "100 h", _fields(hundred, long), {"corpus.kind": "librispeech"}),
    ]


def decoding(options: Options, books: LibriSpeech) -> NgramDecoding:
    """The n-gram that is asked for, LibriSpeech's own beside the data, or one of the transcripts of `books`.

    Raises ValueError where a file cannot be used, or what reads large ones is not installed.
    """
    beside = options.data and options.data / FOUR_GRAM
    if lm := options.lm or (str(beside) if beside and beside.is_file() else None):
        return of_file(lm, options.lexicon)
    if options.lexicon is not None:
        raise ValueError("`lexicon` is of the words of an ARPA file, which `lm` must name, but `lm` is not given.")
    return NgramDecoding(language=FromCorpus(corpus=books, normaliser=LettersAndApostrophes()))


def listener(options: Options, default: str) -> SpeechModel | HubertFromFairseq:
    """The teacher that is asked for, or else `default`."""
    name = options.teacher or default
    if name.endswith(".pt"):
        return HubertFromFairseq(file=name, sha256=options.teacher_sha256)
    return SpeechModel(model=name, bin_sha256=options.teacher_sha256)


def _fields(corpus: LibriSpeech | LibriLight, optimisation: Optimisation) -> dict[str, Any]:
    return {"corpus": corpus.model_dump(), "optimisation": optimisation.model_dump()}


def mini(options: Options) -> tuple[FineTuneCtc, list[Amount]]:
    """The same experiment in minutes: students of Whisper tiny.en's encoder on the English miniature."""
    small = miniature.locate_books()
    books, limited = (str(options.data or folder) for folder in (small.librispeech, small.librilight))
    clean = LibriSpeech(root=books, valid="dev-clean", tests=("test-clean",))
    few = LibriLight(root=books, limited=limited, amount="1h", valid=clean.valid, tests=clean.tests)
    start = DistilHubert(
        corpus=clean.model_copy(update={"tests": ()}),
        teacher=listener(options, str(small.teacher)),
        student=DeepThin(width=256, feed_forward=512, layers=4, heads=4),
        heads=LayerToLayer(),
        clusters=Clusters(count=100, dimensions=64, frames=20_000),
        targets=Cached(layers=(0, 1, 2, 3, 4)),
        crop=None,
        longest_clip=5.0,
        batching=BySeconds(seconds=7),
        optimisation=Optimisation(
            steps=300, warmup=21, schedule=Linear(), learning_rate=1e-3, epsilon=1e-6, weight_decay=1e-6, clip=5.0,
            evaluate_every=300,
        ),
        evaluation_seconds=60,
    )  # fmt: skip
    base = FineTuneCtc(
        corpus=few,
        start=start,
        normaliser=LettersAndApostrophes(),
        ngram=decoding(options, clean.model_copy(update={"train": ALL_OF_IT, "tests": ()})),
        regularisation=Regularisation(attention=0, hidden=0, activation=0, projection=0, layers=0),
        front_end_gradient=1.0,
        masking=TimeMasking(probability=0),
        channel_masking=ChannelMasking(probability=0),
        frozen_steps=0,
        longest_training_clip=3.5,
        longest_clip=30.0,
        batching=BySeconds(seconds=7),
        optimisation=Optimisation(
            steps=400, warmup=80, schedule=TriStage(), learning_rate=1e-3, new_learning_rate=4e-3, evaluate_every=200
        ),
        selection="cer",
        evaluation_seconds=60,
    )
    return base, [
        Amount("few", _minutes(few), {"corpus": few.model_dump()}, {"corpus.kind": few.kind}),
        Amount("all", _minutes(clean), {"corpus": clean.model_dump()}, {"corpus.kind": clean.kind}),
    ]


def _minutes(corpus: LibriSpeech | LibriLight) -> str:
    """How much speech a corpus has to train on, as it truly is: the miniature's sets are named after far more."""
    clips = (clip for folder in corpus.folders("train") for clip in folder.rglob("*.flac"))
    return f"{sum(soundfile.info(clip).duration for clip in clips) / 60:.0f} min"


def in_steps(base: FineTuneCtc, amounts: Sequence[Amount], steps: int) -> tuple[FineTuneCtc, list[Amount]]:
    """The same study in a share of the steps."""
    share, start = steps / base.optimisation.steps, base.start
    assert isinstance(start, DistilHubert)
    start = start.model_copy(update={"optimisation": shortened(start.optimisation, share)})
    fewer = {"start": start, "optimisation": shortened(base.optimisation, share)}
    changed = []
    for amount in amounts:
        own = amount.fields.get("optimisation")
        fields = {} if own is None else {"optimisation": shortened(Optimisation(**own), share).model_dump()}
        changed.append(replace(amount, fields=amount.fields | fields))
    return base.model_copy(update=fewer | {"frozen_steps": round(base.frozen_steps * share)}), changed
