from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import get_model

from compress.measure.guidelines import block_names, guidelines, least_memory


def layer(conv: nn.Conv2d, side: int = 8):
    return guidelines(nn.Sequential(conv), torch.zeros(1, conv.in_channels, side, side)).layers[0]


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 16))
def test_least_memory_is_a_bound_reached_with_equal_channels(c1: int, c2: int, side: int) -> None:
    hw = side * side
    needed = hw * (c1 + c2) + c1 * c2
    bound = least_memory(hw * c1 * c2, hw)
    assert needed >= bound * (1 - 1e-12)
    if c1 == c2:
        assert needed == pytest.approx(bound)


def test_g1_equal_widths() -> None:
    assert layer(nn.Conv2d(64, 64, 1, bias=False)).widths == pytest.approx(1)
    assert layer(nn.Conv2d(64, 64, 1)).widths == pytest.approx(1)  # a bias does not count
    wide = layer(nn.Conv2d(16, 96, 1, bias=False))
    assert wide.widths == pytest.approx((64 * 112 + 16 * 96) / (2 * 64 * math.sqrt(16 * 96) + 16 * 96))
    assert any(text.startswith("G1") for text in wide.against)
    assert layer(nn.Conv2d(16, 96, 3, padding=1)).widths == 1  # the bound is of 1 x 1 convolutions


def test_g2_groups() -> None:
    """By hand: 4 groups, against a dense layer of the same input, weights and MACs."""
    grouped = layer(nn.Conv2d(64, 64, 1, groups=4, bias=False))
    dense = layer(nn.Conv2d(64, 16, 1, bias=False))
    assert grouped.row.macs == dense.row.macs
    assert grouped.groups == pytest.approx(grouped.row.memory / dense.row.memory)
    assert any(text.startswith("G2") for text in grouped.against)
    assert dense.groups == 1


def test_g3_branches_and_small_kernels() -> None:
    module = get_model("googlenet", weights=None, init_weights=False, aux_logits=False).eval()
    found = guidelines(module, torch.zeros(1, 3, 64, 64))
    blocks = {block.name: block for block in found.blocks}
    inception = blocks["inception3a"]
    # 4 branches of 1, 2, 2 and 2 kernels, then the concatenation
    assert inception.kernels == 8
    assert inception.branches == pytest.approx(8 / 3)
    assert any("branches" in text for text in inception.against)
    assert blocks["conv1"].branches == 1
    assert layer(nn.Conv2d(8, 8, 1)).small
    assert not layer(nn.Conv2d(64, 64, 3, padding=1)).small


def test_g4_elementwise_share() -> None:
    module = get_model("mobilenet_v3_small", weights=None).eval()
    found = guidelines(module, torch.zeros(1, 3, 224, 224))
    blocks = {block.name: block for block in found.blocks}
    with_squeeze, without = blocks["features.5"], blocks["features.2"]
    rows = [g.row for g in found.layers if g.row.name.startswith("features.5.") or g.row.name == "features.5"]
    alone = sum(row.memory for row in rows if row.kind in ("add", "mul", "pool"))
    assert with_squeeze.elementwise == pytest.approx(alone / sum(row.memory for row in rows))
    assert any("element-wise" in text for text in with_squeeze.against)
    assert without.elementwise == 0
    assert 0.4 < without.activations < 0.5  # two of three layers have one
    assert [g.row.kind for g in found.layers if g.elementwise and g.row.name == "features.5"] == ["add"]


def test_widths_that_fill_no_vector() -> None:
    assert layer(nn.Conv2d(32, 61, 1)).padded == pytest.approx(64 / 61)
    assert layer(nn.Conv2d(24, 40, 1)).padded == pytest.approx(32 / 24 * 48 / 40)
    assert layer(nn.Conv2d(24, 24, 3, padding=1, groups=24)).padded == pytest.approx(32 / 24)
    assert layer(nn.Conv2d(3, 16, 3, padding=1)).padded == 1  # an image has three
    assert layer(nn.Conv2d(24, 40, 1), side=1).padded == 1  # a vector has no blocks


def test_cost_ranks_what_macs_alone_do_not() -> None:
    """Equal MACs: the depthwise layer moves more memory."""
    dense, depthwise = layer(nn.Conv2d(16, 16, 1)), layer(nn.Conv2d(256, 256, 1, groups=256))
    assert dense.row.macs == depthwise.row.macs
    assert depthwise.cost > 2 * dense.cost


def test_blocks_of_sequences_classes_and_single_layers() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1)))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.parts(x)
            return y

    stage = nn.Sequential(Block(), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    net = nn.Sequential(stage, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    names = ["0.0.parts.0", "0.0.parts.1.0", "0.1.0", "1", ""]
    assert block_names(net, names) == ["0.0", "0.0", "0.1", "1", ""]
