"""What a study's file names may not change under it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import photos
import pytest
from fast_objective import study_spec
from PIL import Image
from tinynet import DIGITS, TINY_FILE, tiny_net

from compress.errors import InputError
from compress.net import Net
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.store import Store
from search import origins
from search.objective import Measuring
from search.spec import StudySpec


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    photos.make_set(tmp_path / "photos", {"train": 4, "test": 1})
    for name in ("net.yaml", "student.yaml"):
        Path(name).write_text(TINY_FILE)
    return tmp_path


def began() -> tuple[StudySpec, dict[str, Any]]:
    """A study of photos, and what its baseline notes."""
    spec = study_spec(
        data={"kind": "folder", "root": "photos", "image_size": 32},
        baseline={"kind": "yaml", "path": "net.yaml"},
        stages=[{"kind": "distill", "student": {"kind": "yaml", "path": "student.yaml"}, "epochs": 1}],
    )
    return spec, {"ms": 1.0, "origins": once(spec)._origins}


def once(spec: StudySpec, base: dict[str, Any] | None = None) -> Measuring:
    """A process that begins the study, or takes it up."""
    objective = Measuring(spec, Store("store"), lambda line: None, lambda line: None)
    if base is None:
        _ = objective._base_lab
    else:
        objective.take_up(base)
    return objective


def test_a_study_goes_on_with_the_files_that_it_began_with_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, base = began()
    once(spec, base)

    photo = next((here / "photos/train").rglob("*.jpg"))
    before = photo.read_bytes()
    Image.fromarray(np.zeros((90, 120, 3), np.uint8)).save(photo)
    for name in ("net.yaml", "student.yaml"):
        Path(name).write_text(TINY_FILE.replace("16, 3, 2", "24, 3, 2"))
    with pytest.raises(InputError) as refused:
        once(spec, base)
    right = "has changed since the study began; put it back as it was, or begin another study: set name"
    assert refused.value.problems == tuple(
        f"{what} {right}"
        for what in ("baseline: net.yaml", "stages: student.yaml", "data: what is below photos")
    )

    once(spec, {"ms": 1.0})  # a study of an earlier version, which noted nothing
    for name in ("net.yaml", "student.yaml"):
        Path(name).write_text(TINY_FILE)
    monkeypatch.setattr(origins, "DECODERS", ("numpy",))  # equal files may give other pixels
    once(spec, base)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    photo.write_bytes(before)
    once(spec, base)


def test_nor_with_another_model_to_compare_with(here: Path) -> None:
    """Scores of later trials would compare with it, beside what was noted of the first."""
    export(seed=0)
    spec = study_spec(
        data={"kind": "folder", "root": "photos", "image_size": 32},
        baseline={"kind": "yaml", "path": "net.yaml"},
        metric={"kind": "f1_time", "baseline": "other"},
    )
    noted = once(spec)._origins
    once(spec, {"ms": 1.0, "origins": noted})
    export(seed=1)
    with pytest.raises(InputError, match=r"^metric\.baseline: other has changed since the study began"):
        once(spec, {"ms": 1.0, "origins": noted})
    older = {part: found for part, found in noted.items() if part not in ("metric", "search")}
    once(spec, {"ms": 1.0, "origins": older})  # of an earlier version


def export(seed: int) -> None:
    """A model for the photos' classes, at ``other``."""
    net = Net(tiny_net(len(photos.KINDS), seed=seed).module, DIGITS, photos.KINDS)
    export_net(net, OnnxRuntime(), Path("other"))


def test_nor_with_other_files_among_the_values_searched(here: Path) -> None:
    Path("wide.yaml").write_text(TINY_FILE)
    spec = study_spec(
        data={"kind": "folder", "root": "photos", "image_size": 32},
        baseline={"kind": "yaml", "path": "net.yaml"},
        stages=[{"kind": "distill", "student": {"kind": "yaml", "path": "student.yaml"}}],
        search={"stages[0].student.path": ["student.yaml", "wide.yaml"], "train.optimizer": ["sgd", "adamw"]},
    )
    noted = once(spec)._origins
    once(spec, {"ms": 1.0, "origins": noted})
    for name in ("student.yaml", "wide.yaml"):
        Path(name).write_text(TINY_FILE.replace("16, 3, 2", "24, 3, 2"))
    with pytest.raises(InputError) as refused:
        once(spec, {"ms": 1.0, "origins": noted})
    assert [line.split(" has ")[0] for line in refused.value.problems] == [
        "stages: student.yaml",
        "search: wide.yaml",
    ]
