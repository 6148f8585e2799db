from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tinynet import TinyNet, tiny_net
from torch import Tensor, nn
from torchvision.models import get_model

from compress.ops.flops import count_macs
from compress.ops.trace import INPUT, kernels, trace


def test_operators_with_the_modules_they_lie_in() -> None:
    net = tiny_net()
    ops = trace(net.module, net.example())
    assert [(op.kind, op.module) for op in ops[:3]] == [
        ("conv", "stem.0"), ("norm", "stem.1"), ("act", "stem.2"),
    ]  # fmt: skip
    assert [op.module for op in ops if op.kind == "add"] == ["block1"]
    first = ops[0]
    assert (first.shapes, first.out) == (((1, 3, 16, 16),), (1, 16, 16, 16))
    assert (first.kernel, first.stride, first.groups) == ((3, 3), (1, 1), 1)
    assert (first.params, first.macs) == (3 * 16 * 9, 3 * 16 * 9 * 256)
    assert first.reads == (INPUT,)
    assert ops[-1].kind == "linear"
    assert ops[-1].params == 64 * 10 + 10 or ops[-1].params == ops[-1].shapes[0][1] * 10 + 10


def test_kernels_take_in_norms_and_activations_and_look_through_views() -> None:
    net = tiny_net()
    found = kernels(trace(net.module, net.example()))
    kinds = [kernel.op.kind for kernel in found]
    convs = sum(isinstance(m, nn.Conv2d) for m in net.module.modules())
    assert kinds == ["conv"] * 5 + ["add"] + ["conv"] * 3 + ["pool", "linear"]
    assert convs == 8
    assert [kernel.act for kernel in found[:4]] == ["hardtanh"] * 4
    add = found[5]
    assert add.reads == (1, 4)  # the block's input and its projection
    assert found[-1].reads == (9,)  # through Flatten


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"])
def test_macs_are_those_of_the_flop_counter_and_kernels_lose_none(name: str) -> None:
    module, x = get_model(name, weights=None), torch.zeros(1, 3, 64, 64)
    ops = trace(module, x)
    assert sum(op.macs for op in ops) == count_macs(module, x) > 0
    assert sum(kernel.op.macs for kernel in kernels(ops)) == count_macs(module, x)
    assert module.training
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())


def test_attention_is_counted_as_the_products_it_is_made_of() -> None:
    block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    tokens = torch.zeros(1, 10, 16)
    products = 10 * 16 * 48 + 2 * 10 * 10 * 16 + 10 * 16 * 16 + 2 * 10 * 16 * 32
    assert sum(op.macs for op in trace(block, tokens)) == products
    assert count_macs(block, tokens) == products


class TwoReaders(nn.Module):
    """An activation cannot move into a layer whose plain result something else reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return F.relu(y) + y


def test_an_activation_stays_alone_where_its_input_has_another_reader() -> None:
    found = kernels(trace(TwoReaders(), torch.zeros(1, 3, 4, 4)))
    assert [kernel.op.kind for kernel in found] == ["conv", "act", "add"]
    assert found[2].reads == (1, 0)


def test_a_functional_net_and_one_that_calls_a_layer_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.relu(self.layer(self.layer(x))), torch.eye(6))

    ops = trace(Twice(), torch.zeros(1, 6))
    assert [op.module for op in ops if op.kind == "linear"] == ["layer", "layer", ""]
    assert [kernel.act for kernel in kernels(ops)] == [None, "relu", None]


def test_in_place_activations_and_batches() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 1, 1, groups=4))
    found = kernels(trace(net, torch.zeros(2, 3, 8, 8)))
    assert [kernel.act for kernel in found] == ["relu", None]
    assert found[1].reads == (0,)
    assert found[1].op.groups == 4
    assert found[0].memory == 2 * 3 * 64 + 2 * 4 * 16 + 3 * 4 * 9 + 4
    assert math.prod(found[0].op.out) == found[0].written


def test_an_error_in_the_net_leaves_no_hooks_behind() -> None:
    net = TinyNet()
    with pytest.raises(RuntimeError):
        trace(net, torch.zeros(1, 5, 16, 16))
    assert net.training
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in net.modules())
