"""Table 1 of Distill-L2S: 20 languages of Common Voice, from scratch, fine-tuned, and distilled at three λ."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    # Run as a file: the packages lie beside this folder, and this folder would hide libraries of equal names.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from orchestrator.cli import StudyOptions, main
from orchestrator.study.layout import ByAxis, Curves, Drawn, Layout
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.table import Choice, Column, Fact, Head, Published, Row, Table
from orchestrator.study.value import Value
from sweeps.decoding import decoded_table, ngram, tuned_table
from trainables import miniature
from trainables.config import explain
from trainables.corpora.batching import ByCount, BySeconds, TimeMasking
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.text import Letters, LettersAndMarks
from trainables.decoding.with_ngram import NgramDecoding
from trainables.optimisation import Optimisation
from trainables.recipes.distill_l2s import DistillL2S
from trainables.students.ctc import CTCStudent, Pretrained, Regularisation, Scratch
from trainables.teachers.language_model import LanguageModel

PUBLISHED = Path(__file__).parent / "published"
SYSTEMS = {"lid": "LID", "lan": "LAN", "a2": "A2", "xlsr": "XLSR", "distill_l2s": "Distill-L2S"}
"""The systems of Table 2: one-hot language identity, language-specific adapters, Adapt-and-Adjust, λ = 0, and the
paper's method."""
BORROWED = {"lid", "lan", "a2"}
"""The paper took their numbers from elsewhere."""
ERROR, JUDGED = Value("test/cer", counts="characters"), Value("valid/cer")
HEAD = Head(
    facts=[
        Fact("language", published="language"),
        Fact("hours", audit="train.seconds", per=3600),  # of the speech that we trained on
        *(Fact(f"paper_{name}", published=name) for name in ("group", "hours", "text_gb")),
    ],
    label="language",
    heading="Language",
    group="paper_group",
    group_heading="Speech",
    ours="{hours:.2f} h",
    paper="{paper_hours:g} h, {paper_text_gb:g} GB",
)
COSTS = [
    Value("audio_seconds_per_second", "Audio seconds per second", unit="", digits=0, better=None),
    Value("waiting_for_data_percent", "Waiting for data, %", unit="", digits=1, better=None),
]
PAPERS_RELEASE, PAPERS_STEPS = "cv-corpus-6.1", 20_000
PAPERS_MODELS = {"wav2vec2-large-xlsr-53", "infoxlm-base"}
LANGUAGES = (
    "cs", "fi", "vi", "ka", "lt", "ja", "sl", "lv", "hu", "ro",
    "th", "el", "id", "tr", "ta", "et", "uk", "pt", "nl", "ar",
)  # fmt: skip
NORMALISERS = {"letters": Letters(), "letters_and_marks": LettersAndMarks()}


class CellOptions(StudyOptions):
    """The options that studies on Common Voice share."""

    preset: Literal["paper", "mini"] = "paper"
    """`paper`: XLSR-53, InfoXLM-base, 20 000 steps (§3.4). `mini`: small models on minutes of speech, on a CPU."""
    languages: tuple[str, ...] | None = None
    """Locale codes such as cs ro, any that the release has; by default the paper's 20, or the miniature's two."""
    seeds: tuple[int, ...] = (1,)
    """Seeds; with several, a cell of the table is their mean."""
    data: Path | None = None
    """Folder of a Common Voice release, with a folder per locale."""
    student: str | None = None
    """Speech encoder, folder or hub name: wav2vec 2.0, HuBERT, WavLM, data2vec, w2v-BERT 2.0 or Whisper."""
    teacher: str | None = None
    """Text encoder of any kind: a transformers folder or a hub name."""
    student_sha256: str | None = None
    """Digest of a pytorch_model.bin of the student that you trust, to load it where there are no safetensors."""
    teacher_sha256: str | None = None
    """Digest of a pytorch_model.bin of the teacher that you trust, to load it where there are no safetensors."""
    normaliser: Literal["letters", "letters_and_marks"] = "letters"
    """`letters`: the released code's rule, which deletes vowel signs in Tamil and Thai; or keep such marks."""
    steps: int | None = None
    """Optimiser steps of each trial, warm-up and evaluations in proportion; by default the preset's."""
    evaluations: int | None = None
    """Evaluations on the validation split in the course of a trial; by default the preset's."""
    selection: Literal["cer", "wer"] = "cer"
    """Validation error that the best checkpoint is chosen by; the authors' code takes wer."""
    lm: str | None = None
    """Decode with a word n-gram too: an ARPA file, or `transcripts`, a 4-gram of the training split's."""
    lexicon: Path | None = None
    """Words and spellings for the ARPA file, as fairseq has them; by default its words, by letters."""


class Options(CellOptions):
    """Options of the sweep over languages and λ."""

    weights: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    """Values of λ; at 0 there are two columns, from scratch and fine-tuned."""


def recipe(options: CellOptions) -> DistillL2S:
    """The recipe that all cells are variants of."""
    if options.data is None and options.preset == "paper":
        raise ValueError("`data` must be the folder of a Common Voice release, but is not given.")
    base = paper(options) if options.preset == "paper" else mini(options)
    update: dict[str, object] = {
        "normaliser": NORMALISERS[options.normaliser],
        "selection": options.selection,
        "ngram": ngram(options.lm, options.lexicon),
    }
    # So that the result is the same for any number of workers up to what is asked for.
    shares = max(options.workers, options.most_workers or 1, base.optimisation.shares)
    base = base.model_copy(update={"optimisation": base.optimisation.model_copy(update={"shares": shares})})
    optimisation = base.optimisation
    if options.steps is not None:
        optimisation = shortened(optimisation, options.steps / optimisation.steps)
    if options.evaluations is not None:
        every = -(-optimisation.steps // options.evaluations)  # never more of them than asked for
        optimisation = optimisation.model_copy(update={"evaluate_every": every})
    return base.model_copy(update={**update, "optimisation": optimisation})


def shortened(optimisation: Optimisation, share: float) -> Optimisation:
    """The same schedule in a share of the steps."""
    fields = optimisation.model_dump()
    for name in ("steps", "warmup", "evaluate_every"):
        fields[name] = round(fields[name] * share)
    return Optimisation.model_validate(fields)


def paper(options: CellOptions) -> DistillL2S:
    """Section 3.4, with what only the released code says: batch of 24, AdamW's β2, dropout, time masks."""
    return DistillL2S(
        corpus=CommonVoice(root=str(options.data), language="cs"),
        student=CTCStudent(
            encoder=Pretrained(
                model=options.student or "facebook/wav2vec2-large-xlsr-53", bin_sha256=options.student_sha256
            )
        ),
        teacher=LanguageModel(model=options.teacher or "microsoft/infoxlm-base", bin_sha256=options.teacher_sha256),
        batching=ByCount(utterances=24),
    )


def mini(options: CellOptions) -> DistillL2S:
    """The same experiment in minutes: half of Whisper tiny.en's encoder, multilingual-e5-small, small steps.

    All layers, longer clips and weights that learn below the last layer take much longer and gain little or nothing
    (LOG.md has what was tried).
    """
    small = miniature.locate()
    return DistillL2S(
        corpus=CommonVoice(root=str(options.data or small.corpus), language="cs"),
        student=CTCStudent(
            encoder=Pretrained(
                model=options.student or str(small.student), bin_sha256=options.student_sha256, layers=2, frozen=1
            ),
            regularisation=Regularisation(attention=0, hidden=0, layers=0),
        ),
        teacher=LanguageModel(model=options.teacher or str(small.teacher), bin_sha256=options.teacher_sha256),
        batching=BySeconds(seconds=7),
        masking=TimeMasking(probability=0),
        longest_training_clip=3.5,
        evaluation_seconds=30,
        optimisation=Optimisation(steps=280, warmup=95, learning_rate=3e-4, new_learning_rate=5e-3, evaluate_every=140),
    )


def study(options: Options) -> tuple[Sweep, Layout]:
    """Fine-tune a speech encoder per language and λ, and print Table 1 of Distill-L2S."""
    check(options, options.weights)
    base = recipe(options)
    languages = locales(options, base, LANGUAGES if options.preset == "paper" else miniature.LOCALES)
    encoder = base.student.encoder
    scratch = Scratch(model=encoder.model, layers=encoder.layers)
    axes = {"corpus.language": languages, "seed": options.seeds}
    recipes = grid(base, {**axes, "weight": options.weights})
    if 0 in options.weights:
        recipes += grid(base, {**axes, "weight": [0.0], "student.encoder": [scratch.model_dump()]})
    # The order of Table 1: a language's cells side by side.
    recipes.sort(key=lambda r: languages.index(r.corpus.language))
    resources = options.resources(gpus=1 if options.preset == "paper" else 0)
    name = options.name or f"commonvoice20-{options.preset}"
    differing = ("corpus.language", "weight", "student.encoder.kind", "seed")
    sweep = Sweep(name, recipes, resources, axes=differing, metric=JUDGED)
    return sweep, layout(options, base.corpus.release(), reasons(base, options), notes(base, options), base.ngram)


def check(options: CellOptions, weights: Sequence[float]) -> None:
    """Raises ValueError, naming the option, where there is nothing to run or its values cannot be."""
    for name, values in (("languages", options.languages), ("weights", weights), ("seeds", options.seeds)):
        if values is not None and not values:
            raise ValueError(f"`{name}` must have at least one value, but is empty.")
    if min(weights) < 0:
        raise ValueError(f"`weights` must be at least 0, but has {min(weights):g}.")
    if options.steps is not None and options.steps < 10:
        raise ValueError(f"`steps` must be at least 10, but is {options.steps} instead.")
    if options.evaluations is not None and options.evaluations < 1:
        raise ValueError(f"`evaluations` must be at least 1, but is {options.evaluations} instead.")


def locales(options: CellOptions, base: DistillL2S, default: Sequence[str]) -> Sequence[str]:
    """The languages that are asked for, or else `default`.

    Raises ValueError for one that neither the paper nor the corpus has.
    """
    languages = default if options.languages is None else options.languages
    assert isinstance(base.corpus, CommonVoice)
    for language in languages:
        if language not in LANGUAGES and not (Path(base.corpus.root) / language).is_dir():
            raise ValueError(
                f"`languages` must be among {', '.join(LANGUAGES)}, or folders of {base.corpus.root}, "
                f"but {language!r} is neither."
            )
    return languages


def layout_of(tables: Sequence[Table], decoding: NgramDecoding | None) -> Layout:
    """Tables with the figures that go with the first, whose columns have λ and whose rows are languages.

    With `decoding` the first table is there once more, decoded so, with what was tuned for it.
    """
    first, more = tables[0].name, []
    if decoding is not None:
        more = [decoded_table(tables[0], decoding), tuned_table(tables[0], tables[0].columns, decoding)]
    return Layout(
        [*tables, *more],
        [
            ByAxis("cer_by_weight", "CER by λ, with 95 % intervals.", first, "weight", "λ", rest="distilled"),
            Drawn(
                "density",
                "Length of the ground truth against prediction density, the share of frames that are not blank: "
                "languages that improve much over the baseline against those that do not (Figure 2 of Distill-L2S).",
                first,
                "sweeps.figures:density",
            ),
            Curves("curves", first, JUDGED, "validation CER (%)"),
        ],
        COSTS,
    )


def layout(
    options: Options, data: str, reasons: Sequence[str] = (), notes: Sequence[str] = (),
    decoding: NgramDecoding | None = None,
) -> Layout:  # fmt: skip
    """Table 1, with columns by student and λ and rows by language in the paper's groups; and Table 2."""
    positive = [w for w in sorted(set(options.weights)) if w]
    columns = [Column(column("distill", w), f"λ = {w:g}", _distilled(w)) for w in positive]
    others = []
    if 0 in options.weights:
        others = [
            Column("scratch_0", "scratch\nλ = 0", {"student.encoder.kind": "scratch", "weight": 0.0}),
            Column("finetune_0", "tuned\nλ = 0", _distilled(0.0)),
        ]
    first = Table(
        "table1",
        "Table 1 of Distill-L2S, CER (%)",
        "corpus.language",
        [*others, *columns],
        ERROR,
        Published.read(PUBLISHED / "distill_l2s_table1.csv"),
        data,
        baseline="finetune_0" if others else None,
        reasons=reasons,
        notes=notes,
        head=HEAD,
    )
    published = Published.read(PUBLISHED / "distill_l2s_table2.csv")
    best = Choice(
        [column.name for column in columns],
        ERROR,
        "The best is chosen by the test error, as in the paper: that is optimistic.",
        first.name,
    )
    second = Table(
        "table2",
        "Table 2 of Distill-L2S, CER (%)",
        [Row(language, "", {"corpus.language": language}) for language in published.rows],
        [
            *(Column(name, f"{text} ‡" if name in BORROWED else text, None) for name, text in SYSTEMS.items()),
            Column("ours", "ours", choice=best),
        ],
        ERROR,
        published,
        data,
        reasons=reasons,
        notes=["‡: borrowed by the paper from Winata et al. 2021, Adapt-and-Adjust."],
        # Of the same facts as Table 1, of which it says only one.
        head=replace(HEAD, facts=[replace(fact, audit="") for fact in HEAD.facts]),
    )
    return layout_of([first, second], decoding)


def column(what: str, weight: float) -> str:
    """The name of a column at λ, as in the file of the published numbers."""
    return f"{what}_{weight:g}" if weight != 1 else f"{what}_1.0"


def _distilled(weight: float) -> dict[str, object]:
    return {"student.encoder.kind": "pretrained", "weight": weight}


def notes(base: DistillL2S, options: CellOptions) -> list[str]:
    """Sentences that a reader must know to read the numbers."""
    encoder = base.student.encoder
    parts = [f"its lowest {encoder.layers} layers"] if encoder.layers else []
    if isinstance(encoder, Pretrained) and encoder.frozen:
        parts.append(f"pretrained ones frozen up to layer {encoder.frozen}")
    part = f" ({', '.join(parts)})" if parts else ""
    return [
        f"Student {Path(encoder.model).name}{part}, teacher {Path(base.teacher.model).name}; "
        f"{base.optimisation.steps} steps.",
        f"Text keeps {options.normaliser.replace('_', ' ')}; "
        f"the best checkpoint by validation {options.selection.upper()}.",
    ]


def reasons(base: DistillL2S, options: CellOptions) -> list[str]:
    """Why our numbers cannot be read against the paper's, of which the released code tells more than the text."""
    release, steps = base.corpus.release(), base.optimisation.steps
    found = []
    if options.preset == "mini":
        found.append("Data: a miniature, with speakers in several splits.")
    if not release.startswith(PAPERS_RELEASE):
        found.append(f"Corpus release: {release}; the paper's is Common Voice 6.1.")
    models = {Path(base.student.encoder.model).name, Path(base.teacher.model).name}
    if models != PAPERS_MODELS:
        found.append(f"Models: {' and '.join(sorted(models))}; the paper's are XLSR-53 and InfoXLM-base.")
    if steps != PAPERS_STEPS:
        found.append(f"Schedule: {steps} steps; the paper's has {PAPERS_STEPS}.")
    if base.longest_clip > base.longest_training_clip:
        found.append(
            f"Test split: clips up to {base.longest_clip:g} s; "
            "the released code leaves out those over 10 s or 200 characters."
        )
    if options.normaliser != "letters":
        found.append("Normaliser: combining marks are kept; the released code deletes them.")
    if options.selection != "wer":
        found.append("Checkpoint: the best by validation CER; the released code takes the best by WER.")
    found.append("Teacher: pretrained and frozen, as the paper says; the released code trains a random one along.")
    return found


if __name__ == "__main__":
    sys.exit(main(Options, study, explain))
