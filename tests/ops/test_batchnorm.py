"""Batch norm statistics taken anew."""

from __future__ import annotations

import copy

import torch
from tinynet import DIGITS, digits, same, state, tiny_net
from torch import nn

from compress.ops.batchnorm import reestimate


def test_reestimated_statistics_are_those_of_all_values_at_once() -> None:
    net = tiny_net()
    x = DIGITS.normalise(torch.from_numpy(digits(0, 100).images).permute(0, 3, 1, 2))
    net.module.train()
    before = state(net)
    assert reestimate(net.module, x.split(30)) == 8
    values = net.module.stem[0](x).double()
    norm = net.module.stem[1]
    assert torch.allclose(norm.running_mean.double(), values.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(norm.running_var.double(), values.var((0, 2, 3)), rtol=1e-5)
    changed = {k for k, v in state(net).items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.endswith(("running_mean", "running_var")) for k in changed)
    assert norm.momentum == 0.1
    assert net.module.training


def test_reestimation_in_one_batch_makes_eval_agree_with_training_mode() -> None:
    net = tiny_net()
    x = DIGITS.normalise(torch.from_numpy(digits(0, 200).images).permute(0, 3, 1, 2))
    reestimate(net.module, [x])
    with torch.no_grad():
        evaluated = net.module.eval()(x)
        net.module.head[2].p = 0.0
        trained = net.module.train()(x)
    assert torch.allclose(evaluated, trained, atol=1e-3)


def test_reestimation_without_norms_or_batches_does_nothing() -> None:
    assert reestimate(nn.Sequential(nn.Conv2d(3, 4, 1)), [torch.zeros(2, 3, 4, 4)]) == 0
    net = tiny_net()
    assert reestimate(net.module, []) == 0
    assert same(state(net), state(tiny_net()))


def test_one_image_alone_where_maps_are_1x1() -> None:
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))
    before = copy.deepcopy(net[2].state_dict())
    assert reestimate(net, [x[:1]]) == 1  # one value a channel says nothing: the last keeps its statistics
    assert same(net[2].state_dict(), before)
    assert torch.allclose(net[0].running_mean, x[0].mean((1, 2)), atol=1e-6)
    alone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))
    assert reestimate(alone, [x[:1], x[1:]]) == 1
    assert torch.allclose(alone[1].running_mean, x.mean((0, 2, 3)), atol=1e-6)
    assert all(m.training for m in alone.modules())
