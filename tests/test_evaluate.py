"""A run scored on other images: every figure is recomputed from the two artifacts."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score
from torch import nn

from compress.errors import InputError
from compress.evaluate import evaluate, lines
from compress.net import Net, Preprocess
from compress.predict import load
from compress.recipe import Recipe
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.step import Step

pytestmark = pytest.mark.usefixtures("in_a_hurry")
LABELS = ("red", "green", "blue")
SIZE = 16


class Colour(nn.Module):
    """The mean of each channel, with a liking for some; ``width`` costs time."""

    def __init__(self, liking: tuple[float, float, float], width: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, width, 3, padding=1)
        self.pick = nn.Conv2d(3 + width, 3, 1)
        with torch.no_grad():
            self.pick.weight.zero_()
            self.pick.weight[:, :3] = torch.eye(3).view(3, 3, 1, 1)
            self.pick.bias.copy_(torch.tensor(liking))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.pick(torch.cat([x, self.wide(x)], 1)).mean((2, 3))
        return y


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder whose baseline is slow, and whose final model is quick and has other answers."""
    folder = tmp_path_factory.mktemp("runs") / "colours"
    for name, liking, width in (("baseline", (0.0, 0.0, 0.0), 96), ("artifact", (0.1, 0.0, 0.0), 4)):
        net = Net(Colour(liking, width).eval(), Preprocess(SIZE), LABELS)
        export_net(net, OnnxRuntime(), folder / name)
    _report(folder, {"kind": "f1_time"})
    return folder


def _report(folder: Path, metric: dict[str, Any]) -> None:
    baseline, final = (
        {**Step(kind, kind, "k", True, "", None, 0.0, False).to_dict(), "macs": macs}
        for kind, macs in (("baseline", 4e6), ("prune", 1e6))
    )
    report = {
        "recipe": Recipe(name="colours").canonical(), "machine": {}, "runtime": "x", "metric": metric,
        "baseline": baseline, "steps": [final], "final": final, "control": None, "require": [],
        "other_runtimes_ms": {}, "data_notes": [],
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """60 photos, 30 red, 20 green, 10 blue, whose colours are so noisy that some look like another."""
    rng = np.random.default_rng(0)
    for i in range(60):
        target = 0 if i < 30 else 1 if i < 50 else 2
        colour = rng.normal(110, 18, 3)
        colour[target] += 30
        pixels = np.clip(rng.normal(colour, 20, (24, 30, 3)), 0, 255).astype(np.uint8)
        folder = tmp_path / "data" / LABELS[target]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    (tmp_path / "data" / "red" / ".DS_Store").write_bytes(b"no image")
    (tmp_path / "data" / ".git").mkdir()
    return tmp_path / "data"


def _by_hand(model: Path, data: Path) -> dict[str, Any]:
    files = sorted(p for p in data.glob("*/*.png") if p.stat().st_size)
    true = [file.parent.name for file in files]
    said = [label for label, _ in load(model).predict(files)]
    each = f1_score(true, said, labels=LABELS, average=None)
    return {
        "f1": f1_score(true, said, average="macro"),
        "accuracy": accuracy_score(true, said),
        "f1_per_class": dict(zip(LABELS, each.tolist(), strict=True)),
    }


def _points(got: dict[str, Any]) -> float:
    """f1_time from the printed figures; the base values are the baseline's."""
    worse = got["baseline"]["f1"] - got["final"]["f1"]
    return 0.5 * float(got["final"]["latency_ratio"]) + 1 / (1 + math.exp(-20 * worse))


def test_f1_accuracy_and_score_are_what_sklearn_and_the_formula_say(run: Path, data: Path) -> None:
    got = evaluate(run, data)
    assert (got["n"], got["skipped"]) == (60, [])
    for name, folder in (("baseline", "baseline"), ("final", "artifact")):
        want = _by_hand(run / folder, data)
        assert got[name]["f1"] == pytest.approx(want["f1"], abs=1e-12)
        assert got[name]["accuracy"] == want["accuracy"]
        assert got[name]["f1_per_class"] == pytest.approx(want["f1_per_class"], abs=1e-12)
    assert 0.4 < got["baseline"]["f1"] != got["final"]["f1"] > 0.4
    assert got["score"] == pytest.approx(_points(got), abs=1e-12)
    ratio = got["final"]["latency_ratio"]
    assert ratio < 1
    assert got["final"]["latency_ratio_interval"][0] <= ratio <= got["final"]["latency_ratio_interval"][1]


def test_every_figure_has_its_interval_and_what_may_be_noise_is_called_so(run: Path, data: Path) -> None:
    got = evaluate(run, data)
    final, span = got["final"], got["final"]["f1_change_interval"]
    for name in ("baseline", "final"):
        low, high = got[name]["f1_interval"]
        assert 0 < low < got[name]["f1"] < high < 1
    change = final["f1"] - got["baseline"]["f1"]
    assert span[0] < change < span[1]
    assert span[1] - span[0] < high - low  # paired: they err on the same photos
    assert got["score_interval"][0] < got["score"] < got["score_interval"][1]
    said = "\n".join(lines(got, data))
    for interval in (span, final["f1_interval"], final["latency_ratio_interval"], got["score_interval"]):
        assert f"{interval[0]:.3f} to {interval[1]:.3f}" in said.replace("+", "")
    assert ("may be noise" in said) == (span[0] <= 0 <= span[1])
    tied = {**got, "final": {**final, "latency_ratio_interval": [0.9, 1.1]}}
    assert "(0.900 to 1.100, a tie)" in "\n".join(lines(tied, data))


def test_a_class_without_photos_that_a_model_predicts_is_told(run: Path, data: Path) -> None:
    shutil.rmtree(data / "green")
    got = evaluate(run, data)
    files = sorted(data.glob("*/*.png"))
    for name, folder in (("baseline", "baseline"), ("final", "artifact")):
        said = [label for label, _ in load(run / folder).predict(files)]
        assert got["absent_predicted"][name] == said.count("green")
    assert got["absent"] == ["green"]
    (line,) = (line for line in lines(got, data) if line.startswith("no image of green"))
    assert f"baseline {got['absent_predicted']['baseline']} times" in line


def test_base_values_the_recipe_states_are_of_other_images_and_do_not_count(run: Path, data: Path) -> None:
    _report(run, {"kind": "f1_time", "f1_base": 0.3, "time_base": 900.0})
    got = evaluate(run, data)
    _report(run, {"kind": "f1_time"})
    assert got["score"] == pytest.approx(_points(got), abs=1e-12)


def test_f1_macs_keeps_the_base_values_of_its_rule(run: Path, data: Path) -> None:
    _report(run, {"kind": "f1_macs", "f1_base": 0.95, "macs_base": 2e6})
    got = evaluate(run, data)
    _report(run, {"kind": "f1_time"})
    assert got["score"] == pytest.approx(0.5 + 1 - got["final"]["f1"] / 0.95, abs=1e-12)


def test_up_to_one_percent_of_unreadable_files_are_skipped_and_named(run: Path, data: Path) -> None:
    for i in range(39):
        (data / "red" / f"more-{i}.png").write_bytes((data / "red" / "00.png").read_bytes())
    (data / "blue" / "empty.png").write_bytes(b"")  # 1 of 100
    got = evaluate(run, data)
    assert got["n"] == 99
    (line,) = got["skipped"]
    assert line.startswith("blue/empty.png: ")
    assert got["final"]["accuracy"] == _by_hand(run / "artifact", data)["accuracy"]
    (data / "green" / "text.png").write_text("no image")  # 2 of 101
    with pytest.raises(InputError, match=r"2 of 101 files are unreadable, more than the 1 %") as caught:
        evaluate(run, data)
    assert "blue/empty.png" in str(caught.value)
    assert "green/text.png" in str(caught.value)
    assert len(caught.value.problems) == 1


def test_files_are_found_as_in_training(run: Path, data: Path) -> None:
    """Litter of file managers is no photo and no class; folders in a class folder are of its class."""
    (data / "red" / "Thumbs.db").write_bytes(b"no image")
    (data / "__MACOSX").mkdir()
    below = data / "blue" / "second" / "camera"
    below.mkdir(parents=True)
    (below / "one.png").write_bytes(next((data / "blue").glob("*.png")).read_bytes())
    got = evaluate(run, data)
    assert (got["n"], got["skipped"]) == (61, [])


def test_nothing_readable_unknown_classes_and_empty_folders(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with pytest.raises(InputError, match="no such folder"):
        evaluate(run, folder)
    (folder / "red").mkdir(parents=True)
    with pytest.raises(InputError, match="the class folders are empty"):
        evaluate(run, folder)
    (folder / "red" / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="1 of 1 files are unreadable"):
        evaluate(run, folder)
    (folder / "gren").mkdir()
    with pytest.raises(InputError, match="found gren; expected folders named red, green, blue"):
        evaluate(run, folder)
