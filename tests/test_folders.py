"""One process and one recipe at a time in a run's folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from report_samples import report

from compress import folders
from compress.__main__ import main
from compress.errors import InputError
from compress.report.run_folder import write_report


def test_a_folder_is_held_by_one_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "mine"
    with folders.held(path):
        with pytest.raises(InputError, match="mine: another run of that name is going on"):
            folders.hold(path)
        folders.hold(path.with_name("other")).release()
    lock = folders.hold(path)
    with pytest.raises(InputError), folders.held(path):
        raise AssertionError("both hold it")
    lock.release()
    with pytest.raises(ZeroDivisionError), folders.held(path):
        _ = 1 / 0
    folders.hold(path).release()


def test_what_another_recipe_left_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    assert folders.claim(path, "seed: 0\n") is None
    (path / "net.pt").touch()
    assert folders.claim(path, "seed: 0\n") is None
    assert (path / "net.pt").is_file()
    assert folders.claim(path, "seed: 1\n") == tmp_path / "mine.1"
    assert [file.name for file in path.iterdir()] == ["recipe.yaml"]
    assert (tmp_path / "mine.1/net.pt").is_file()
    (path / "recipe.yaml").unlink()
    assert folders.claim(path, "seed: 1\n") == tmp_path / "mine.2"  # whose it was is not known


def test_a_log_has_the_time_of_day(tmp_path: Path) -> None:
    folders.log(tmp_path, "one")
    folders.log(tmp_path, os.fsdecode(b"caf\xe9"))  # a name that is not UTF-8
    lines = (tmp_path / "log.txt").read_text().splitlines()
    said = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in lines]
    assert said == ["one", r"caf\udce9"]


@pytest.mark.parametrize(
    ("files", "given", "said"),
    [
        ([], "gone", "no such folder; give a run's"),
        (["notes"], "notes", "a file; give a run's folder"),
        (["a/photo.jpg"], "a", "not a run's folder: no recipe.yaml there"),
        (["a/recipe.yaml", "a/log.txt"], "a", "its run did not end; run its recipe again"),
        (
            ["s/recipe.yaml", "s/study.yaml"],
            "s",
            "a study's folder, not a run's; python -m compress s/recipe.yaml runs",
        ),
        (["x/recipe.yaml", "x/ablation.json"], "x", "an ablation's folder, not a run's"),
        (["runs/a/recipe.yaml", "runs/b/recipe.yaml"], "runs", "holds runs; give one of them, e.g. runs/a"),
    ],
)
@pytest.mark.parametrize(
    "command", [["report"], ["export", "--to", "onnx"], ["compare"], ["bench"], ["predict", "i"]]
)
def test_what_is_no_run_is_told_the_same_by_every_command(
    files: list[str],
    given: str,
    said: str,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}")
    if command == ["report"] and given == "x":
        return  # it draws an ablation's page
    assert main([command[0], given, *command[1:]]) == 2
    assert capsys.readouterr().err.startswith(f"{given}: {said}")


@pytest.mark.parametrize(
    "command", [["predict", "i"], ["bench"], ["evaluate", "--data", "d"], ["export", "--to", "onnx"]]
)
def test_a_run_whose_model_is_gone_is_told_the_same_by_every_command(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a run that is killed while it replaces one may leave it."""
    monkeypatch.chdir(tmp_path)
    folders.claim(Path("q"), "")
    write_report(Path("q"), report())
    assert main([command[0], "q", *command[1:]]) == 2
    said = "q: its run did not end; run its recipe again, and it goes on\n"
    assert capsys.readouterr().err == said
