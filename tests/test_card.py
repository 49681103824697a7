"""The card of a model from figures that a sweep hands in, whatever its recipe is."""

import json
from dataclasses import replace
from typing import Annotated

import yaml

from trainables.config import Config, Location, Since
from trainables.export.card import Card, Dataset, Rate, fields

CARD = Card(
    title="A model",
    about="It listens.",
    method="a method",
    task="audio-classification",
    library=None,
    name="model",
    language=None,
    base_model=None,
    dataset=Dataset("speech_commands", "Commands", "en", "CC BY 4.0"),
    protocol="as it comes",
    tested="Tested once.",
    use="Load it.",
    data="Clips.",
    choice="The last checkpoint.",
    recipe={"seed": 1},
)
RATES = [
    Rate("speaker_test", "intent_error", "intent error", 1.25, (1.0, 1.5), 200),
    Rate("utterance_test", "intent_error", "intent error", 12.5, None, 100),
]


def parts(text: str) -> tuple[dict, str]:
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_each_test_set_has_its_table_and_its_results() -> None:
    front, body = parts(CARD.markdown("`abc` of the study `s`", "c0ffee", RATES, "Intervals: some."))
    results = front["model-index"][0]["results"]
    assert [(r["dataset"]["split"], r["metrics"][0]["value"]) for r in results] == [
        ("speaker_test", 1.25),
        ("utterance_test", 12.5),
    ]
    assert front["metrics"] == ["intent_error"]
    assert "On the speaker_test split, 200 utterances, as it comes:\n\n| | rate |" in body
    assert "| intent error | 1.25 % | 1.00 to 1.50 % |" in body
    assert "| intent error | 12.50 % | unknown |\n\nIntervals: some. Tested once.\n\n## Use" in body
    assert "It listens. Made by trial `abc` of the study `s` of a method.\n" in body
    assert "The last checkpoint. Code: commit `c0ffee`.\n\n```json" in body


def test_without_rates_it_says_nothing_of_them() -> None:
    front, body = parts(CARD.markdown("`abc`", "", [], "Intervals: some."))
    assert "model-index" not in front
    assert "How good" not in body
    assert "Intervals" not in body
    assert "commit" not in body
    assert json.loads(body.partition("```json\n")[2].partition("```")[0]) == {"seed": 1}
    assert parts(replace(CARD, language="en").markdown("`abc`", "", [], ""))[0]["language"] == "en"


class Part(Config):
    model: Location = "/somewhere/model"


class Whole(Config):
    part: Part = Part()
    later: Annotated[int, Since()] = 1


def test_the_fields_of_a_card_name_no_place_and_nothing_that_came_later_and_changes_nothing() -> None:
    assert fields(Whole()) == {"part": {"model": "model"}}
    assert fields(Whole(later=2)) == {"part": {"model": "model"}, "later": 2}
    assert Whole().places() == {"part.model": "/somewhere/model"}
