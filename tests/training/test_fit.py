"""The training loop on real digits: it learns, it is exact, it keeps the best epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fitting import spec, train
from tinynet import DIGITS, digits, same, state, tiny_net
from torch import Tensor
from torch.nn import functional as F

from compress.train import fit, macro_f1, predict_logits
from compress.training.batch import inputs


def test_it_learns_digits_and_measures_what_the_model_has() -> None:
    net = tiny_net()
    result = train(net, spec(epochs=6), images=800, tune=digits(800, 1100))
    assert result.best_f1 is not None
    assert result.best_f1 > 0.9
    logits = predict_logits(net.module, digits(800, 1100), DIGITS)
    assert macro_f1(digits(800, 1100).targets, logits.argmax(1)) == result.best_f1
    assert not net.module.training
    assert [r["epoch"] for r in result.history] == [1, 2, 3, 4, 5, 6]
    assert result.epochs_run == 6
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 2
    assert result.seconds > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "lr": 0.01, "schedule": "cosine"},
        {"loss": "class_balanced", "clip_grad": 1.0},
        {"loss": "logit_adjusted", "channels_last": False},
        {"precision": "bf16"},
        {"ema": 0.9},
        {"mixup": 0.2},
        {"augment": {"kind": "randaugment"}, "views": 2},
    ],
    ids=lambda c: "-".join(map(str, c.values())),
)
def test_every_setting_trains_repeats_exactly_and_changes_the_result(changes: dict[str, Any]) -> None:
    states = []
    for settings in (spec(**changes), spec(**changes), spec()):
        net = tiny_net()
        result = train(net, settings, images=200)
        assert result.history[-1]["loss"] < result.history[0]["loss"]
        states.append(state(net))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def test_only_the_seed_draws_and_the_global_generators_stay_as_they_were() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    nets = [tiny_net(), tiny_net(), tiny_net()]
    train(nets[0], spec(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)  # another global state, the same training
    train(nets[1], spec(), seed=1)
    train(nets[2], spec(), seed=2)
    assert same(state(nets[0]), state(nets[1]))
    assert not same(state(nets[0]), state(nets[2]))


def test_no_epochs_leave_the_net_as_it_is() -> None:
    net = tiny_net()
    result = train(net, spec(epochs=0))
    assert result.epochs_run == 0
    assert result.best_f1 is None
    assert same(state(net), state(tiny_net()))


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    net = tiny_net()
    train(net, spec(epochs=1, batch_size=64), images=20)
    assert not same(state(net), state(tiny_net()))


def test_images_of_another_size_are_resized_for_the_net() -> None:
    net = tiny_net()
    small = replace(DIGITS, size=12)
    result = fit(net.module, digits(0, 64), spec(), preprocess=small, log=lambda line: None)
    assert result.epochs_run == 3
    images = torch.from_numpy(digits(0, 4).images).permute(0, 3, 1, 2)
    assert inputs(images, small).shape == (4, 3, 12, 12)
    assert torch.equal(inputs(images, DIGITS), DIGITS.normalise(images))


def test_a_loss_of_ones_own_sees_logits_soft_targets_and_images() -> None:
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        seen.append((logits.detach(), soft, images))
        return F.cross_entropy(logits, soft)

    train(tiny_net(), spec(epochs=1, label_smoothing=0.2), loss=loss)
    logits, soft, images = seen[0]
    assert logits.shape == soft.shape == (32, 10)
    assert logits.dtype == torch.float32
    assert images.shape == (32, 3, 16, 16)
    assert images.dtype == torch.uint8
    assert soft.sum(1).allclose(torch.ones(32))
    assert soft.max(1).values.allclose(torch.tensor(0.82))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_views_bring_the_same_batches_back(share: float) -> None:
    sums: list[float] = []

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        sums.append(float(images.double().sum()))
        return F.cross_entropy(logits, soft)

    settings = spec(epochs=5, views=2, mixup=share, augment={"kind": "flip_crop"})
    train(tiny_net(), settings, images=64, loss=loss)
    assert len(sums) == 10
    assert sums[0:4] == sums[4:8]
    assert sums[0:2] == sums[8:10]
    assert len(set(sums)) == 4


def test_early_stop_keeps_the_best_epoch() -> None:
    net = tiny_net()
    tune = digits(200, 260)

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        nonlocal steps
        steps += 1  # learn for 9 epochs of 6 steps, then unlearn
        return F.cross_entropy(logits, soft) * (1 if steps <= 54 else -1)

    steps = 0
    result = train(net, spec(epochs=40, patience=3, warmup=0.05), images=200, tune=tune, loss=loss)
    f1s = [r["f1"] for r in result.history]
    best = int(np.argmax(f1s))
    assert result.epochs_run == best + 1 + 3 < 40
    assert result.best_f1 == f1s[best] > f1s[-1]
    assert macro_f1(tune.targets, predict_logits(net.module, tune, DIGITS).argmax(1)) == f1s[best]


def test_predictions_keep_order_mode_and_batch_size() -> None:
    net = tiny_net()
    net.module.train()
    net.module.stem.eval()
    data = digits(0, 70)
    whole = predict_logits(net.module, data, DIGITS)
    assert whole.shape == (70, 10)
    assert whole.dtype == np.float32
    assert np.allclose(whole, predict_logits(net.module, data, DIGITS, batch_size=9), atol=1e-5)
    assert net.module.training
    assert not net.module.stem.training
    x = DIGITS.normalise(torch.from_numpy(data.images[5:6]).permute(0, 3, 1, 2))
    assert np.allclose(whole[5], net.module.eval()(x).detach().numpy(), atol=1e-5)
