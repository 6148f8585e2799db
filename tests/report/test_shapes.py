"""What the report says of layers: widths and ranks of real nets."""

from __future__ import annotations

import torch
from tinynet import TinyNet

from compress.report.shapes import factorised, shapes
from compress.stages.decompose import factorise


def test_every_layer_of_a_net_by_name_kind_and_size() -> None:
    found = {layer["name"]: layer for layer in shapes(TinyNet())}
    assert {layer["kind"] for layer in found.values()} == {"conv", "pointwise", "depthwise", "linear"}
    assert found["stem.0"] == {
        "name": "stem.0", "kind": "conv", "in": 3, "out": 16, "kernel": [3, 3], "weights": 432
    }  # fmt: skip
    assert found["block1.body.1.0"]["kind"] == "depthwise"
    assert sum(layer["weights"] for layer in found.values()) <= sum(p.numel() for p in TinyNet().parameters())


def test_ranks_are_read_off_the_factors_that_stand_in_for_a_layer() -> None:
    torch.manual_seed(0)
    before, net = TinyNet(), TinyNet()
    net.dense[0] = factorise(net.dense[0], (8, 12))  # Tucker-2 of 16 to 32
    net.head[3] = factorise(net.head[3], (4,))  # SVD
    tucker, svd = factorised(shapes(before), shapes(net))
    assert (tucker["layer"], tucker["ranks"], tucker["chain"]) == ("dense.0", [8, 12], [16, 8, 12, 32])
    assert tucker["dense"] == 16 * 32 * 9
    assert tucker["weights"] == 16 * 8 + 8 * 12 * 9 + 12 * 32
    assert (svd["layer"], svd["ranks"], svd["dense"]) == ("head.3", [4], 320)
    assert factorised(shapes(before), shapes(before)) == []
