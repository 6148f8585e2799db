"""A run's folder: what is in it whatever happened while it was written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_samples import AFTER, BEFORE, STEPS, photos, report

from compress.errors import CompressError
from compress.recipe import Recipe
from compress.report.photos import flips
from compress.report.run_folder import RunFolder, _replace, read_report, record, write_report
from compress.stages.finetune import Finetune
from compress.step import Step

RECIPE = Recipe(name="tiny", stages=(Finetune(),))


def labels(folder: Path) -> list[str]:
    """Of the steps written there."""
    return [json.loads(line)["label"] for line in (folder / "steps.jsonl").read_text().splitlines()]


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of ``RECIPE`` that ended."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.open(RECIPE)
    for step in STEPS[:2]:
        folder.add(step)
    write_report(folder.path, report())
    folder.lock.release()
    return folder.path


def test_a_run_that_fails_before_its_first_step_leaves_those_of_the_one_that_ended(ended: Path) -> None:
    def failing(*steps: Step) -> Iterator[Step]:
        yield from steps
        raise CompressError("failed")

    for steps, left in (((), ["baseline", "prune"]), ((STEPS[0],), ["baseline"])):
        with pytest.raises(CompressError):
            list(record(RECIPE, failing(*steps)))
        assert labels(ended) == left


def test_a_run_with_another_model_given_to_it_moves_the_one_that_ended_aside_whole(ended: Path) -> None:
    own = replace(STEPS[0], given={"model": "Sequential 1"})
    next(record(RECIPE, iter([own])))
    assert labels(ended.with_name("tiny.1")) == ["baseline", "prune"]
    assert labels(ended) == ["baseline"]


def test_names_of_files_need_not_be_utf8(tmp_path: Path) -> None:
    data, name = photos(), os.fsdecode(b"caf\xe9.jpg")
    shown = flips(replace(data, names=(name,) * len(data)), BEFORE, AFTER, tmp_path)
    write_report(tmp_path, report(flips=shown, data_notes=[f"skipped 1 of 10 files: {name}"]))
    for file in ("report.html", "report.md"):
        assert r"caf\udce9.jpg" in (tmp_path / file).read_text()
    assert read_report(tmp_path)["data_notes"] == [f"skipped 1 of 10 files: {name}"]


def test_a_run_again_replaces_a_model_without_first_deleting_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting takes long enough to be killed in."""
    delete, there = shutil.rmtree, []

    def slowly(path: Path, **more: Any) -> None:
        delete(path, **more)
        there.append((tmp_path / "run/artifact/model").is_file())

    (tmp_path / "run").mkdir()
    for content in ("old", "new"):
        source = tmp_path / content
        source.mkdir()
        (source / "model").write_text(content)
        _replace(source, tmp_path / "run/artifact")
        (tmp_path / "run/.artifact.old").mkdir()  # left by a kill: no hindrance
        monkeypatch.setattr("shutil.rmtree", slowly)
    assert all(there)
    assert (tmp_path / "run/artifact/model").read_text() == "new"


def test_a_run_from_python_has_a_log(ended: Path) -> None:
    other = RECIPE.model_copy(update={"seed": 1})
    next(record(other, iter(STEPS)))
    moved, step = ((line.split(maxsplit=2)[2]) for line in (ended / "log.txt").read_text().splitlines())
    assert moved == f"the run of another recipe of that name is now {ended}.1"
    assert step == "baseline: kept, where the chain starts"
