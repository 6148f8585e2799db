"""Runs on photos of three colours, and what a test asks of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from compress.__main__ import main
from compress.chain import run
from compress.data.folder import FolderData
from compress.models.zoo import YamlModel
from compress.predict import load
from compress.recipe import Recipe
from compress.report.run_folder import record
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.step import Score, Step
from compress.store import Store
from compress.train import TrainSpec

LABELS = ("blue", "green", "red")
MODEL = """
input_channel: 3
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [1, Conv, [16, 3, 2]]
  - [1, Conv, [32, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, FixedConv, [3, 1, 1, null, 1, null]]
"""


def write(root: Path, counts: dict[str, int], make: Any) -> None:
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for target, label in enumerate(LABELS):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(make(rng, target)).save(folder / f"{i:03d}.jpg", quality=90)


def coloured(rng: np.random.Generator, target: int) -> np.ndarray:
    """Noisy patches with more of one colour; some look like another's."""
    colour = rng.normal(105, 22, 3)
    colour[2 - target] += 35
    return np.clip(rng.normal(colour, 25, (64, 88, 3)), 0, 255).astype(np.uint8)


def recipe(name: str, **more: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": name,
            "data": FolderData(root=Path("photos"), image_size=24),
            "model": YamlModel(path=Path("model.yaml")),
            "train": TrainSpec(epochs=4, batch_size=16, augment={"kind": "none"}),
            "runtime": OnnxRuntime(),
            **more,
        }
    )


def steps(value: Recipe, **given: Any) -> list[Step]:
    return list(run(value, store=Store("store"), log=lambda line: None, **given))


def recorded(value: Recipe) -> list[Step]:
    """The same, and the run's folder; it times the final model in every runtime, so it takes longer."""
    store = Store("store")
    return list(record(value, run(value, store=store, log=lambda line: None), store))


def score_of(step: Step) -> Score:
    assert step.score is not None
    return step.score


def shipped(artifact: str | Path) -> list[int]:
    """Labels of the test photos, given to a loaded artifact as files."""
    files = sorted(Path("photos/test").glob("*/*.jpg"))
    return [LABELS.index(label) for label, _ in load(artifact).predict(files)]


def points(f1: float, base_f1: float, ratio: float) -> float:
    return 0.5 * ratio + 1 / (1 + math.exp(-20 * (base_f1 - f1)))


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, list[str], list[str]]:
    """A command line in this process: its exit code, and the lines it said on stdout and stderr."""
    code = main(args)
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


class Guess(nn.Module):
    """By the mean of each channel, with its labels in another order than the data's."""

    def __init__(self) -> None:
        super().__init__()
        self.pick = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.pick.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            self.pick.bias.copy_(torch.tensor([0.3, 0.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.pick(x).mean((2, 3))
        return y
