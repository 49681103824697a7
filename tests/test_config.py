import os
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from trainables.config import Config, Folder, Location, Preparation, Since, digest, explain


class Data(Config):
    kind: Literal["data"] = "data"
    root: Location
    language: str = "cs"
    content: str = "0123"

    def fingerprint(self):
        return self.content


class Plain(Config):
    kind: Literal["plain"] = "plain"


class Cell(Config):
    data: Annotated[Data | Plain, Field(discriminator="kind")] = Data(root="/here")
    weight: Annotated[float, Field(ge=0)] = 0.5
    betas: tuple[float, float] = (0.9, 0.98)
    name: Annotated[str, Field(pattern="^[a-z]+$")] = "a"

    @model_validator(mode="after")
    def _not_one(self):
        if self.weight == 1:
            raise ValueError("`weight` must not be 1, but is 1.0 instead.")
        return self


def test_identity_has_every_field_but_locations_and_the_fingerprint_in_their_place():
    data = {"kind": "data", "language": "cs", "content": "0123", "fingerprint": "0123"}
    assert Cell().identity() == {"data": data, "weight": 0.5, "betas": [0.9, 0.98], "name": "a"}


def test_identity_is_the_same_at_another_location_and_differs_with_the_content():
    here, there = Cell(), Cell(data=Data(root="/there"))
    changed = Cell(data=Data(root="/here", content="4567"))
    assert digest(here.identity()) == digest(there.identity())
    assert digest(here.identity()) != digest(changed.identity())


class Grown(Cell):
    """`Cell` after two fields were added to it."""

    clipping: Annotated[float | None, Since()] = None
    schedule: Annotated[Data | Plain, Field(discriminator="kind"), Since()] = Plain()
    layers: Annotated[tuple[int, ...], Since()] = Field(default_factory=lambda: (1, 2))
    checks: Annotated[tuple[int, ...], Since(before=(7,))] = (7,)


def test_a_field_that_came_later_is_no_part_of_an_identity_while_it_has_its_default():
    assert Grown(layers=(1, 2)).identity() == Cell().identity()
    assert Grown(clipping=1.0).identity() == {**Cell().identity(), "clipping": 1.0}
    assert Grown(schedule=Data(root="/here")).identity()["schedule"]["fingerprint"] == "0123"
    assert Grown(layers=(3,)).identity()["layers"] == [3]


def test_a_field_that_came_later_may_have_another_default_than_what_was_done_before():
    class Freed(Grown):
        checks: Annotated[tuple[int, ...], Since(before=(7,))] = ()

    assert Freed(checks=(7,)).identity() == Cell().identity()
    assert Freed().identity() == {**Cell().identity(), "checks": []}


def test_a_signature_is_of_the_type_and_the_identity():
    assert Cell().signature() == Cell(data=Data(root="/there")).signature()
    signatures = {Cell().signature(), Grown().signature(), Cell(weight=0.25).signature(), Plain().signature()}
    assert len(signatures) == 4
    assert all(re.fullmatch("[0-9a-f]{12}", signature) for signature in signatures)


class Made(Preparation):
    split: str = "train"

    def build(self):
        raise AssertionError

    def summary(self):
        raise AssertionError


class Features(Preparation):
    of: Made

    build, summary = Made.build, Made.summary


def test_a_preparation_is_made_anew_in_another_format_and_so_is_what_is_made_of_it(monkeypatch):
    before = Made().signature(), Features(of=Made()).signature()
    monkeypatch.setattr(Made, "format", 3)
    after = Made().signature(), Features(of=Made()).signature()
    assert len({*before, *after}) == 4


class Places(Config):
    folder: Folder = "/"
    model: Location = "hub/name"


@pytest.fixture
def _models(tmp_path, monkeypatch):
    """A working directory with a folder of two models, one behind a link, and the same as the home folder."""
    (tmp_path / "here" / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "here" / "link").symlink_to(tmp_path / "here" / "models" / "tiny")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))


@pytest.mark.usefixtures("_models")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("models/tiny", "models/tiny"),
        ("models/tiny/", "models/tiny"),
        ("./models/tiny", "models/tiny"),
        ("../here/models/tiny", "../here/models/tiny"),
        ("~/models/tiny", "models/tiny"),
        ("link", "link"),
        ("link/..", "link/.."),
        ("{here}/models/tiny", "models/tiny"),
    ],
)
def test_a_folder_is_the_same_in_another_working_directory(given, found, tmp_path, monkeypatch):
    """Where a recipe is made and in the process that loads it."""
    here = tmp_path / "here"
    given = given.format(here=here)
    places = Places(folder=given, model=given)
    assert places.folder == places.model == f"{here}/{found}"
    assert Path(places.folder).samefile(given.replace("~", str(here)))
    monkeypatch.chdir("/")
    assert Places.model_validate_json(places.model_dump_json()) == places


@pytest.mark.usefixtures("_models")
@pytest.mark.parametrize(
    "name", ["hub/name", "models/other", "./no", "~/no", "~nobody-of-this-name/x", "", "a\0b", 300 * "a"]
)
def test_what_is_no_folder_stays_a_name(name):
    assert Places(model=name).model == name


@pytest.mark.usefixtures("_models")
def test_a_folder_that_is_not_there_is_one_all_the_same():
    assert Places(folder="data/cv").folder == os.path.abspath("data/cv")
    assert Places(folder="~/cv").folder == os.path.expanduser("~/cv")


@pytest.mark.parametrize("field", ["folder", "model"])
@pytest.mark.parametrize("given", ["data/caf\udce9", "."])
def test_a_path_that_is_not_utf_8_is_refused_in_a_sentence(field, given, tmp_path, monkeypatch):
    (tmp_path / "caf\udce9" / "data" / "caf\udce9").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "caf\udce9")
    with pytest.raises(ValidationError) as error:
        Places(**{field: given})
    sentence = explain(error.value)
    assert sentence.startswith("A path must be in UTF-8, but '")
    assert "caf\\udce9" in sentence
    assert "\n" not in sentence


def test_a_config_without_outside_content_has_no_fingerprint():
    assert Plain().identity() == {"kind": "plain"}


def test_digest_does_not_depend_on_the_order_of_keys_and_has_the_length_asked_for():
    assert digest({"a": 1, "b": "λ"}) == digest({"b": "λ", "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest({"a": 1})) == 16
    assert len(digest({"a": 1}, 40)) == 40


def test_configs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Cell().weight = 2.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"weight": -1}, "`weight` must be greater than or equal to 0, but is -1 instead."),
        ({"weight": float("nan")}, "`weight` must be a finite number, but is nan instead."),
        ({"weight": "x"}, "`weight` must be a valid number, .*but is 'x' instead."),
        ({"wieght": 1}, "`wieght` is not a field here."),
        ({"weight": 1}, "`weight` must not be 1, but is 1.0 instead."),
        ({"name": "A"}, r"`name` must match pattern '\^\[a-z\]\+\$', but is 'A' instead."),
        ({"betas": (1, 2, 3)}, r"`betas` must have at most 2 items .*but is \(1, 2, 3\) instead."),
        ({"data": {"kind": "data"}}, "`data.data.root` must be given."),
        ({"data": {"root": "/"}}, "`data.kind` must be given."),
        ({"data": {"kind": "x"}}, "`data.kind` must be one of 'data', 'plain', but is 'x' instead."),
    ],
)
def test_an_error_is_one_sentence_of_the_thing_the_rule_and_the_value(values, sentence):
    with pytest.raises(ValidationError) as error:
        Cell(**values)
    explained = explain(error.value)
    assert "\n" not in explained
    assert re.fullmatch(sentence, explained)


def test_several_errors_are_one_sentence_a_line():
    with pytest.raises(ValidationError) as error:
        Cell.model_validate({"weight": -1, "foo": 2})
    assert explain(error.value).splitlines() == [
        "`weight` must be greater than or equal to 0, but is -1 instead.",
        "`foo` is not a field here.",
    ]
