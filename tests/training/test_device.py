"""Training on a GPU, and where there is none."""

from __future__ import annotations

import pytest
import torch
from fitting import spec, train
from tinynet import digits, state, tiny_net

from compress.errors import InputError
from compress.net import Preprocess
from compress.train import fit


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(InputError, match="sees no GPU"):
        train(tiny_net(), spec(device="cuda"))


def test_how_images_reach_a_net_may_be_left_out() -> None:
    given, left_out = tiny_net(), tiny_net()
    fit(given.module, digits(0, 64), spec(epochs=1), preprocess=Preprocess(16), log=lambda line: None)
    fit(left_out.module, digits(0, 64), spec(epochs=1), log=lambda line: None)
    assert all(torch.equal(v, state(given)[k]) for k, v in state(left_out).items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("augment", ["none", "flip_crop", "randaugment"])
def test_a_gpu_learns_in_bf16_and_gives_the_net_back(augment: str) -> None:
    net = tiny_net()
    settings = spec(epochs=8, device="cuda", ema=0.9, augment={"kind": augment})
    if augment != "none":
        settings = settings.model_copy(update={"augment": settings.augment.model_copy(update={"flip": 0.0})})
    result = train(net, settings, images=800, tune=digits(800, 1100))
    assert result.best_f1 is not None
    assert result.best_f1 > 0.8
    assert all(v.device.type == "cpu" for v in state(net).values())
