from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compress.ops.surgery import is_under, layer_calls, replace


def test_replace_by_name_in_containers_and_attributes() -> None:
    root = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1)), nn.ModuleDict({"a": nn.ReLU()}))
    replace(root, "0.1", nn.Identity())
    replace(root, "1.a", nn.Tanh())
    assert isinstance(root[0][1], nn.Identity)
    assert isinstance(root[1]["a"], nn.Tanh)
    assert isinstance(root[0][0], nn.ReLU)
    with pytest.raises(AttributeError):
        replace(root, "0.7", nn.Identity())


def test_replace_reaches_every_name_of_a_shared_module() -> None:
    shared = nn.Linear(2, 2)
    root = nn.Sequential(shared, nn.ReLU(), shared)
    replace(root, "0", nn.Identity())
    assert root[0] is root[2]
    assert isinstance(root[2], nn.Identity)


def test_layer_calls_shapes_counts_and_macs() -> None:
    shared = nn.Conv2d(4, 4, 3, padding=1)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        shared,
        shared,
        nn.Conv2d(4, 8, 3, groups=2),
        nn.Flatten(),
        nn.Linear(8 * 25, 5),
    )
    net.train()
    calls = layer_calls(net, torch.zeros(1, 3, 15, 15))
    assert [(c.name, c.shape, c.calls) for c in calls] == [
        ("0", (1, 3, 15, 15), 1),
        ("1", (1, 4, 7, 7), 2),
        ("3", (1, 4, 7, 7), 1),
        ("5", (1, 200), 1),
    ]
    assert net.training
    assert not any(m._forward_hooks for m in net.modules())
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 15, 15))
    assert sum(c.macs for c in calls) == counter.get_total_flops() / 2


def test_is_under() -> None:
    assert is_under("features.1.conv", ["features.1"])
    assert is_under("head", ["head"])
    assert not is_under("features.10.conv", ["features.1"])
    assert not is_under("head", [])
