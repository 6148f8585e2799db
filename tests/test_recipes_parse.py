"""Every recipe in the tree can be run as it is, but for the photos that are not in the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import InputError
from compress.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_recipes_of_the_readme_are_there() -> None:
    assert {"quickstart", "trashnet"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe(path: Path) -> None:
    recipe = Recipe.from_yaml(path, files=False)
    assert recipe.name == path.stem
    assert recipe.check(skip=("data",)) == []
    assert recipe.stages
    if recipe.data.kind == "digits":
        assert Recipe.from_yaml(path) == recipe


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "recipes/spaces/quickstart.yaml",
            "a study; run it with python -m search recipes/spaces/quickstart.yaml",
        ),
        (
            "recipes/models/digits.yaml",
            "a model file; a recipe takes it as model: {kind: yaml, path: recipes/",
        ),
    ],
)
def test_a_file_of_another_kind_is_one_line(file: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Recipe.from_yaml(file, ["train.epochs=1"])
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: {said}")


def test_trashnet_with_the_photos(shared_data: Path) -> None:
    recipe = Recipe.from_yaml(ROOT / "recipes/trashnet.yaml", [f"data.root={shared_data / 'trashnet'}"])
    assert recipe.check() == []
