"""The README says what is: its commands exist, and its recipe in YAML and in Python is one value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from compress.__main__ import app
from compress.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_its_commands_exist() -> None:
    known = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    } | {group.name for group in app.registered_groups}
    named = {word for word in re.findall(r"python -m compress ([\w./-]+)", README) if word.isalpha()}
    assert named <= known
    assert {"plan", "report", "evaluate", "predict", "export", "schema"} <= named


def test_its_files_and_make_targets_exist() -> None:
    for path in re.findall(r"(?:recipes|benchmarks)/[\w/-]+\.(?:yaml|py)", README):
        assert (ROOT / path).is_file(), path
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make (\w+)", "\n".join(_blocks("")))) <= targets


def test_its_recipe_is_the_same_in_yaml_and_in_python(tmp_path: Path) -> None:
    (yaml,) = _blocks("yaml")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml)
    names: dict[str, Any] = {}
    recipes = []
    for code in _blocks("python"):  # the second one uses what the first has imported
        exec(code[: code.index("for step in record")], names)
        recipes.append(names["recipe"])
    assert recipes[0] == Recipe.from_yaml(file, files=False)
    assert recipes[0].digest == Recipe.from_yaml(file, files=False).digest
    assert recipes[1].train.epochs == 0  # its model is trained already
