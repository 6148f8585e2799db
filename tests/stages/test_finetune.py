"""Finetune and train_net: the net goes on learning, as float or quantization-aware."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tinynet import DIGITS, TorchBench
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from compress.net import Net, Quant
from compress.ops.fakequant import fake_quantized
from compress.ops.fold import fold_batchnorm
from compress.stages.base import Context
from compress.stages.finetune import Finetune
from compress.stages.training import default_lr, seed_of, train_net


def state(net: Net) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def int8(net: Net, ctx: Context) -> Net:
    """What the quantize stage leaves: batch norms folded, calibration images kept."""
    return replace(
        net, module=fold_batchnorm(net.module, net.example()), quant=Quant(ctx.calib.images[:32], "minmax")
    )


def test_defaults_and_round_trip() -> None:
    stage = Finetune()
    assert (stage.kind, stage.epochs, stage.lr) == ("finetune", 10, None)
    assert Finetune.after_quantize
    assert Finetune.model_validate(Finetune(epochs=3, lr=0.5).canonical()) == Finetune(epochs=3, lr=0.5)


def test_it_learns_leaves_the_plan_alone_and_repeats_exactly(small_net: Net, ctx: Context) -> None:
    stage = Finetune(epochs=8, lr=0.1)
    before = state(small_net)
    plan = stage.plan(small_net, ctx)
    assert same(state(small_net), before)
    assert plan.skip is None
    assert plan.notes == ("8 epochs, float, learning rate 0.1",)
    first = stage.apply(small_net.copy(), plan, ctx)
    assert not same(state(first), before)
    bench = TorchBench()
    assert bench.f1(first, ctx.tune) > 0.6 > 0.3 > bench.f1(small_net, ctx.tune)
    second = stage.apply(small_net.copy(), plan, replace(ctx, work=ctx.work / "again"))
    assert same(state(first), state(second))
    other = stage.apply(small_net.copy(), plan, replace(ctx, work=ctx.work / "other", seed=1))
    assert not same(state(first), state(other))


def test_it_is_gentle_by_default(small_net: Net, ctx: Context) -> None:
    assert default_lr(small_net, ctx) == pytest.approx(0.02)
    assert default_lr(int8(small_net, ctx), ctx) == pytest.approx(0.001)
    result = train_net(small_net, ctx, epochs=2)
    assert 0.0 < max(r["lr"] for r in result.history) < 0.02


def test_a_killed_stage_goes_on_where_it_was(learned_net: Net, learned_ctx: Context) -> None:
    calls = 0

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 15:  # 6 steps an epoch
            raise KeyboardInterrupt
        return F.cross_entropy(logits, soft)

    lines: list[str] = []
    whole = learned_net.copy()
    calls = 100
    train_net(whole, replace(learned_ctx, work=learned_ctx.work / "whole"), epochs=4, loss=loss)
    calls = 0
    with pytest.raises(KeyboardInterrupt):
        train_net(learned_net.copy(), learned_ctx, epochs=4, loss=loss)
    net = learned_net.copy()
    train_net(net, replace(learned_ctx, log=lines.append), epochs=4, loss=loss)
    assert "going on after epoch 2" in lines[0]
    assert same(state(net), state(whole))


def test_trainings_of_one_stage_have_folders_and_draws_of_their_own(ctx: Context, small_net: Net) -> None:
    train_net(small_net.copy(), ctx, epochs=1, name="a")
    train_net(small_net.copy(), ctx, epochs=1, name="b")
    assert (ctx.work / "a").is_dir()
    assert (ctx.work / "b").is_dir()
    assert len({seed_of(ctx, "a"), seed_of(ctx, "b"), seed_of(replace(ctx, seed=1), "a")}) == 3


def test_after_quantize_it_trains_quantization_aware(learned_net: Net, learned_ctx: Context) -> None:
    net = int8(learned_net, learned_ctx)
    before = state(net)
    plan = Finetune(epochs=2).plan(net, learned_ctx)
    assert "quantization-aware, learning rate 0.001" in plan.notes[0]
    after = Finetune(epochs=2).apply(net.copy(), plan, learned_ctx)
    assert after.quant is net.quant
    assert state(after).keys() == before.keys()  # plain float again
    assert type(after.module.stem[0]) is torch.nn.Conv2d
    assert not same(state(after), before)
    biases = [name for name in before if name.endswith("0.bias")]  # where batch norm's shifts went
    assert biases
    assert not any(torch.equal(state(after)[name], before[name]) for name in biases)

    images = DIGITS.normalise(torch.from_numpy(learned_ctx.calib.images[:32]).permute(0, 3, 1, 2))
    targets = torch.from_numpy(learned_ctx.train.targets)
    train = DIGITS.normalise(torch.from_numpy(learned_ctx.train.images).permute(0, 3, 1, 2))

    def int8_loss(module: torch.nn.Module) -> float:
        with fake_quantized(module, images), torch.no_grad():
            return float(F.cross_entropy(module(train), targets, label_smoothing=0.1))

    assert int8_loss(after.module) < int8_loss(net.module)


def test_a_resumed_quantization_aware_training_is_exact(learned_net: Net, learned_ctx: Context) -> None:
    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        seen.add(any(is_parametrized(trained.module.stem[0]) for trained in (whole, again)))
        if calls == 9:
            raise KeyboardInterrupt
        return F.cross_entropy(logits, soft)

    net = int8(learned_net, learned_ctx)
    whole, again = net.copy(), net.copy()
    seen: set[bool] = set()
    calls = 100
    train_net(whole, replace(learned_ctx, work=learned_ctx.work / "whole"), epochs=3, loss=loss)
    calls = 0
    with pytest.raises(KeyboardInterrupt):
        train_net(again, learned_ctx, epochs=3, loss=loss)
    again = net.copy()
    train_net(again, learned_ctx, epochs=3, loss=loss)
    assert seen == {True}  # fake quantisation, all the time
    assert same(state(again), state(whole))
