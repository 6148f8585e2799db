"""A model and data of one's own in place of a recipe's: what is taken, what is refused, what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.chain import run
from compress.data.digits import DigitsData
from compress.errors import InputError
from compress.net import Net, Preprocess
from compress.recipe import Recipe
from compress.report.run_folder import read_report, record
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.stages.finetune import Finetune
from compress.step import Step
from compress.store import Store
from compress.train import TrainSpec

pytestmark = pytest.mark.usefixtures("in_a_hurry")


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(name="tiny", data=DigitsData(image_size=16), runtime=OnnxRuntime())


def _steps(recipe: Recipe, store: Path, **given: Any) -> list[Step]:
    return list(run(recipe, store=Store(store), log=lambda line: None, **given))


def test_ones_own_module_and_loaders(recipe: Recipe, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def loader(n: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        targets = torch.arange(n) % 2
        dark = torch.from_numpy(rng.integers(0, 120, (n, 3, 16, 16), dtype=np.uint8))
        return [(dark + 100 * targets.view(-1, 1, 1, 1).byte(), targets)]

    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    before = [p.clone() for p in module.parameters()]
    steps = _steps(
        recipe.model_copy(update={"stages": (Finetune(epochs=1),), "train": TrainSpec(epochs=4)}),
        tmp_path / "s",
        model=module,
        data=(loader(96), loader(32), loader(32)),
    )
    assert steps[0].score is not None
    assert steps[0].score.f1_test > 0.8
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


class _Twice(nn.Module):
    """Two modules with the same text and weights, and not the same function."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(3, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x.mean((2, 3)))
        return out


class _Pair(_Twice):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), x


class _Decides(_Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.mean() > 0 else -x)


class _Asserts(_Twice):
    """As torchvision's ViT, which takes images of one size alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert(x.shape[-1] == 24, "Wrong image height!")
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (_Pair(), r"gives a tuple for 2 images, expected \(2, 2\)"),
        (_Decides(), r"^model: cannot be exported .*test_own_model.py:\d+: return .*; its forward must .*if"),
        (_Twice(3), r"gives \(2, 3\) for 2 images, expected \(2, 2\)"),
        (nn.Conv2d(1, 2, 3), r"cannot take a 2 x 3 x 16 x 16 input, three channels \(RGB\)"),
        (_Asserts(), r"cannot take a 2 x 3 x 16 x 16 input, .*: AssertionError: Wrong image height!$"),
        ("resnet", r"expected a torch\.nn\.Module or a Net, found str$"),
        (_Twice, r"found _Twice \(the class itself: make one\)"),
        (Net(_Twice(), Preprocess(24), ("0", "1")), "images of side 24"),
        (Net(_Twice(), Preprocess(16), ("a", "b")), "its labels are a, b"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_it_is_trained(
    recipe: Recipe, tmp_path: Path, model: Any, said: str
) -> None:
    images = np.zeros((8, 16, 16, 3), np.uint8)
    images[::2] = 255
    data = ((images, np.arange(8) % 2),) * 3
    with pytest.raises(InputError, match=said):
        _steps(recipe, tmp_path, model=model, data=data)
    assert not (tmp_path / "work").exists()


def test_data_and_preprocessing_of_ones_own_come_in_threes(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data: expected \(train, val, test\), found 2 of 3"):
        _steps(recipe, tmp_path, model=_Twice(), data=(1, 2))
    with pytest.raises(InputError, match=r"Preprocess: std has 1 of 3 values: .*3 channels"):
        Preprocess(16, (0.5, 0.5, 0.5), (0.5,))  # type: ignore[arg-type]


def test_a_run_says_what_it_was_given_and_another_one_s_folder_is_not_overwritten(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    sets = [(rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8), np.arange(n) % 10) for n in (60, 20, 30)]
    short = recipe.model_copy(update={"train": TrainSpec(epochs=0)})
    store, found = Store("store"), []
    for seed, order in ((0, 1), (0, -1), (5, 1)):
        data = [(images[::order], targets[::order]) for images, targets in sets]
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 10, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        given = {"model": model, "data": data, "store": store, "log": lambda line: None}
        list(record(short, run(short, **given), store))
        found.append(read_report("runs/tiny")["given"])
    assert found[0] == found[1]  # the order of images is no part of it
    assert found[0]["data"] == found[2]["data"]
    assert found[0]["model"].startswith("Sequential ")
    assert found[0]["model"] != found[2]["model"]
    assert read_report("runs/tiny.1")["given"] == found[0]
    page, text = ((tmp_path / "runs/tiny" / name).read_text() for name in ("report.html", "report.md"))
    assert found[2]["model"] in page
    assert f"In place of the recipe's model, from Python: {found[2]['model']}." in text
    assert "python -m compress runs/tiny/recipe.yaml" not in page  # it would run another net
