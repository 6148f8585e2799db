"""What `data crops` can be told."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from compress.data.crops.spec import CropSpec
from compress.errors import InputError
from compress.reading import read_spec
from compress.yamlio import parse

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "data"


def test_the_file_says_the_defaults() -> None:
    assert read_spec(CropSpec, RECIPES / "competition.yaml") == CropSpec()


def test_every_category_has_one_place() -> None:
    spec = CropSpec()
    names = [name for names in spec.classes.values() for name in names] + list(spec.drop)
    assert len(names) == len(set(names)) == 60 + 11 - 1  # the competition's files have a Battery too
    assert list(spec.classes) == ["Metal", "Paper", "Paperpack", "Plastic", "Plasticbag", "Styrofoam"]


def test_a_category_without_a_place_is_named() -> None:
    with pytest.raises(InputError, match="1 categories are neither in classes nor in drop: 'Teapot'"):
        CropSpec().class_of(["Drink can", "Teapot"])
    assert CropSpec().class_of(["Drink can", "Shoe"]) == {"Drink can": "Metal", "Shoe": None}


def test_classes_as_they_are_called() -> None:
    spec = CropSpec(classes="categories", drop=("b",))
    assert spec.class_of(["a", "b"]) == {"a": "a", "b": None}
    with pytest.raises(InputError, match="cannot be called 'a/b'"):
        spec.class_of(["a/b"])


def test_a_class_for_each_category_drops_none_unless_told_to() -> None:
    names = ["Glass", "Clothing", "Shoe", "Battery", "Cigarette", "UNKNOWN"]
    spec = CropSpec(classes="categories")
    assert spec.class_of(names) == {name: name for name in names}
    assert spec.drop == ()
    assert read_spec(CropSpec, parse("{}", "defaults"), ["classes=categories"]) == spec
    assert CropSpec.model_validate(spec.canonical()) == spec
    told = CropSpec(classes="categories", drop=("Shoe",))
    assert told.class_of(names) == {name: None if name == "Shoe" else name for name in names}
    assert CropSpec().drop == read_spec(CropSpec, RECIPES / "competition.yaml", ["classes=categories"]).drop


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": {"a": ("x",), "b": ("x",)}}, "more than once in classes and drop: 'x'"),
        ({"classes": {"a": ("Shoe",), "b": ("y",)}}, "'Shoe'"),
        ({"classes": {"a/b": ("x",), "c": ("y",)}}, "cannot be called 'a/b'"),
        ({"classes": {".a": ("x",), "c": ("y",)}}, "cannot be called '.a'"),
        ({"classes": {"a": ("x",)}}, "two classes or more"),
        ({"split": {"val": 0.5, "test": 0.5}}, "leave nothing for train"),
        ({"iou": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CropSpec(**change)


def test_overrides_without_a_file() -> None:
    spec = read_spec(CropSpec, parse("{}", "defaults"), ["min_side=8", "split.test=0.3", "iou=null"])
    assert (spec.min_side, spec.split.test, spec.iou) == (8, 0.3, None)
    with pytest.raises(InputError) as error:
        read_spec(CropSpec, parse("{}", "defaults"), ["min_sid=8", "keep=small"])
    assert [line.split(": ")[0] for line in error.value.problems] == ["--set keep=small", "--set min_sid=8"]
    assert "did you mean 'min_side'?" in error.value.problems[1]
