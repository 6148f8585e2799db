"""Training on a GPU, and where there is none."""

from __future__ import annotations

import pytest
import torch
from fitting import spec, train
from tinynet import digits, state, tiny_net

from compress.errors import InputError


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(InputError, match="sees no GPU"):
        train(tiny_net(), spec(device="cuda"))


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
