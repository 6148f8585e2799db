"""A training that cannot be, or goes wrong, says so and leaves nothing broken."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from fitting import spec, train
from pydantic import ValidationError
from tinynet import state, tiny_net
from torch import Tensor
from torch.nn import functional as F

from compress.errors import DivergedError, InputError
from compress.train import TrainSpec
from compress.training import checkpoint


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(tmp_path: Path, value: float) -> None:
    calls = 0

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return F.cross_entropy(logits, soft) * (value if calls > 4 else 1)

    net = tiny_net()
    with pytest.raises(DivergedError) as error:
        train(net, spec(), loss=loss, work=tmp_path)
    text = str(error.value)
    assert "epoch 2, step 2 of 3" in text
    assert str(value) in text
    assert "try an lr below 0.1" in text
    assert f"{tmp_path / checkpoint.NAME} (epoch 1)" in text
    good = torch.load(tmp_path / checkpoint.NAME, weights_only=True)
    assert all(torch.isfinite(v).all() for v in good["model"].values())
    assert all(torch.isfinite(v).all() for v in state(net).values())


def test_a_real_divergence_is_seen(tmp_path: Path) -> None:
    net = tiny_net()
    with pytest.raises(DivergedError, match=r"diverged in epoch 1.*no checkpoint yet.*clip_grad"):
        train(net, spec(lr=1e38, warmup=0.01), work=tmp_path)
    assert not (tmp_path / checkpoint.NAME).exists()


def test_broken_weights_after_a_good_loss_are_not_saved(tmp_path: Path) -> None:
    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        return F.cross_entropy(logits, soft) * 1e30  # finite, but not times the learning rate

    with pytest.raises(DivergedError, match=r"epoch 1, step 1 of 1: NaN or infinite values in \w+\.\d"):
        train(tiny_net(), spec(lr=1e12), images=32, loss=loss, work=tmp_path)
    assert not (tmp_path / checkpoint.NAME).exists()


@pytest.mark.parametrize("ema", [None, 0.5])
def test_what_was_infinite_from_the_start_is_no_divergence(ema: float | None) -> None:
    net = tiny_net()
    mask = torch.full((3, 3), -math.inf).triu(1)
    net.module.register_buffer("mask", mask.clone())
    train(net, spec(epochs=2, ema=ema))
    assert torch.equal(state(net)["mask"], mask)
    assert all(v.isfinite().all() for k, v in state(net).items() if k != "mask")


def test_what_cannot_be_trained_is_said() -> None:
    with pytest.raises(InputError, match="at least 2 images, found 1"):
        train(tiny_net(), spec(), images=1)
    with pytest.raises(InputError, match="no tune images"):
        train(tiny_net(), spec(patience=2))
    with pytest.raises(ValidationError):
        TrainSpec(epochs=-1)
