"""Each block against an independent implementation, and through every tool the stages use."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import ops
from torchvision.models import efficientnet, mobilenetv2, mobilenetv3, squeezenet

from compress.models.arch import build
from compress.models.arguments import ACTIVATIONS, ALIASES
from compress.models.blocks import SqueezeExcite, make_activation

HEAD = [[1, "GlobalAvgPool", []], [1, "Flatten", []], [1, "Linear", [6]]]

ROWS = {
    "Conv": [1, "Conv", [16, 3, 2, None, 1, "Hardswish"]],
    "Conv unpadded": [1, "Conv", [16, 3, 2, [0]]],
    "DWConv": [2, "DWConv", [24, 5, 2, None, "HardSwish"]],
    "InvertedResidualv2": [2, "InvertedResidualv2", [16, 3, 2]],
    "InvertedResidualv3 with SE": [2, "InvertedResidualv3", [5, 3, 16, 1, 1, 2]],
    "InvertedResidualv3 unexpanded": [1, "InvertedResidualv3", [3, 1, 16, 1, 0, 1]],
    "MBConv strided": [2, "MBConv", [4, 16, 2, 5]],
    "MBConv": [1, "MBConv", [1, 16, 1, 3]],
    "Bottleneck": [2, "Bottleneck", [16]],
    "Fire": [2, "Fire", [8, 16, 16]],
    "MaxPool": [1, "MaxPool", [3, 2, 0, 1, False, True]],
    "AvgPool": [1, "AvgPool", [3, 2, 1]],
}


def block(row: list[Any], channels: int = 16) -> nn.Module:
    """The module of one row on ``channels``, with batch statistics that are not the identity."""
    model = {"input_channel": channels, "depth_multiple": 1, "width_multiple": 1, "backbone": [row, *HEAD]}
    torch.manual_seed(0)
    module = build(model)[0]
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias)
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
    return module.eval()


def copy_weights(source: nn.Module, target: nn.Module) -> nn.Module:
    """Both list their layers in the order they run."""
    values = list(source.state_dict().values())
    keys = list(target.state_dict())
    target.load_state_dict(dict(zip(keys, values, strict=True)))
    return target.eval()


def tv3(channels: int, k: int, hidden: int, out: int, se: bool, hs: bool, s: int) -> nn.Module:
    config = mobilenetv3.InvertedResidualConfig(channels, k, hidden, out, se, "HS" if hs else "RE", s, 1, 1)
    return mobilenetv3.InvertedResidual(config, nn.BatchNorm2d)


def tv_mbconv(t: int, k: int, s: int, out: int) -> nn.Module:
    config = efficientnet.MBConvConfig(t, k, s, 16, out, 1)
    return efficientnet.MBConv(config, 0.0, nn.BatchNorm2d)


AGREE: list[tuple[list[Any], Callable[[], nn.Module]]] = [
    ([1, "Conv", [24, 3, 2]], lambda: ops.Conv2dNormActivation(16, 24, 3, 2)),
    ([1, "Conv", [24, 5, 1, 0, 4, "Swish"]], lambda: ops.Conv2dNormActivation(
        16, 24, 5, groups=4, activation_layer=nn.SiLU)),
    ([1, "DWConv", [16, 3, 2, None, "ReLU6"]], lambda: ops.Conv2dNormActivation(
        16, 16, 3, 2, groups=16, activation_layer=nn.ReLU6)),
    ([1, "InvertedResidualv2", [16, 6, 1]], lambda: mobilenetv2.InvertedResidual(16, 16, 1, 6)),
    ([1, "InvertedResidualv2", [24, 1, 2]], lambda: mobilenetv2.InvertedResidual(16, 24, 2, 1)),
    ([1, "InvertedResidualv3", [5, 4, 16, 0, 1, 1]], lambda: tv3(16, 5, 64, 16, False, True, 1)),
    ([1, "InvertedResidualv3", [3, 2.5, 24, 0, 0, 2]], lambda: tv3(16, 3, 40, 24, False, False, 2)),
    ([1, "InvertedResidualv3", [3, 1, 16, 1, 0, 1]], lambda: tv3(16, 3, 16, 16, True, False, 1)),
    ([1, "MBConv", [6, 16, 1, 5]], lambda: tv_mbconv(6, 5, 1, 16)),
    ([1, "MBConv", [1, 24, 1, 3]], lambda: tv_mbconv(1, 3, 1, 24)),
    ([1, "Fire", [4, 8, 12]], lambda: squeezenet.Fire(16, 4, 8, 12)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reference"), AGREE, ids=lambda v: str(v[1:]) if isinstance(v, list) else "")
def test_blocks_equal_torchvision_with_its_weights(
    row: list[Any], reference: Callable[[], nn.Module]
) -> None:
    ours = block(row)
    theirs = copy_weights(ours, reference())
    x = torch.randn(2, 16, 15, 15)
    torch.testing.assert_close(ours(x), theirs(x))


def test_v3_weights_channels_before_the_activation_when_it_expands() -> None:
    """torchvision weights after it, so its block cannot be the reference: written out here."""
    ours = block([1, "InvertedResidualv3", [3, 4, 16, 1, 1, 1]])
    theirs = copy_weights(ours, tv3(16, 3, 64, 16, True, True, 1))
    expand, depthwise, se, project = theirs.block
    x = torch.randn(2, 16, 9, 9)
    inner = nn.functional.hardswish(se(depthwise[1](depthwise[0](expand(x)))))
    torch.testing.assert_close(ours(x), x + project(inner))
    assert (ours(x) - theirs(x)).abs().max() > 1e-2


def test_mbconv_pads_a_stride_as_tensorflow_does() -> None:
    """One zero more after than before, so that windows start at the first pixel for 3x3."""
    module = block([1, "MBConv", [1, 16, 2, 3]])
    depthwise = module.body.depthwise
    x = torch.randn(1, 16, 8, 8)
    padded = nn.functional.pad(x, (0, 1, 0, 1))
    expected = nn.functional.conv2d(padded, depthwise.conv.weight, stride=2, groups=16)
    torch.testing.assert_close(depthwise.conv(depthwise.pad(x)), expected)
    assert block([1, "MBConv", [1, 16, 2, 5]]).body.depthwise.pad.padding == (1, 2, 1, 2)


def test_bottleneck_is_the_sum_of_its_input_and_two_convolutions() -> None:
    module = block([1, "Bottleneck", [16, True, 2, 0.5, "Hardswish"]])
    x = torch.randn(2, 16, 7, 7)
    a, b = module.body
    inner = nn.functional.hardswish(a.bn(a.conv(x)))
    torch.testing.assert_close(module(x), x + nn.functional.hardswish(b.bn(b.conv(inner))))
    assert (b.conv.groups, b.conv.in_channels) == (2, 8)


def test_squeeze_excite_equals_torchvision() -> None:
    ours = SqueezeExcite(16, 8, "ReLU", "Hardsigmoid")
    theirs = copy_weights(ours, ops.SqueezeExcitation(16, 8, scale_activation=nn.Hardsigmoid))
    x = torch.randn(2, 16, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))


def test_every_activation_of_torch_that_fits_is_known() -> None:
    def fits(name: str) -> bool:
        try:
            made = make_activation(name)
            x = torch.randn(2, 4, 3, 3)
            return made(x).shape == x.shape
        except (TypeError, RuntimeError):
            return False

    classes = [
        name
        for name, value in vars(nn.modules.activation).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value is getattr(nn, name, None)
    ]
    assert {name for name in classes if fits(name)} == set(ACTIVATIONS)
    assert all(target in ACTIVATIONS for target in ALIASES.values())


@pytest.mark.parametrize("name", [*ACTIVATIONS, *ALIASES])
def test_an_activation_is_torchs_own(name: str) -> None:
    module = block([1, "Conv", [16, 1, 1, None, 1, name]])
    target = ALIASES.get(name, name)
    assert type(module.act) is getattr(nn, target)
    if target == "Softmax":
        torch.testing.assert_close(module(torch.randn(1, 16, 2, 2)).sum(1), torch.ones(1, 2, 2))


def test_initial_weights_follow_he() -> None:
    torch.manual_seed(0)
    wide = build(
        {
            "input_channel": 64,
            "depth_multiple": 1,
            "width_multiple": 1,
            "backbone": [[1, "Conv", [256, 3]], [1, "DWConv", [256, 5]], [1, "GlobalAvgPool", []],
                         [1, "Flatten", []], [1, "Linear", [512, "ReLU"]], [1, "Linear", [6]]],
        }
    )  # fmt: skip
    dense, depthwise = (m for m in wide.modules() if isinstance(m, nn.Conv2d))
    hidden, logits = (m for m in wide.modules() if isinstance(m, nn.Linear))
    assert dense.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.05)
    assert depthwise.weight.std().item() == pytest.approx((2 / 25) ** 0.5, rel=0.05)
    assert hidden.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert logits.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not hidden.bias.any()
    assert all(m.momentum == 0.1 for m in wide.modules() if isinstance(m, nn.BatchNorm2d))


class Beside(nn.Module):
    """Several modules on one input, so that one export, which takes seconds, does for all."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [part(x) for part in self.parts]


def test_blocks_export_to_onnx_with_equal_outputs(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module = Beside([block(row) for row in ROWS.values()]).eval()
    file = tmp_path / "blocks.onnx"
    x = torch.randn(1, 16, 12, 12)
    torch.onnx.export(module, (x,), file, dynamo=True, verbose=False, dynamic_shapes=({0: "n"},))
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = torch.randn(batch, 16, 12, 12)
        outs = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            for name, out, expected in zip(ROWS, outs, module(x), strict=True):
                np.testing.assert_allclose(out, expected.numpy(), atol=1e-4, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_blocks_can_be_traced_copied_and_pickled(row: list[Any]) -> None:
    module = block(row)
    x = torch.randn(2, 16, 12, 12)
    expected = module(x)
    for other in (torch.fx.symbolic_trace(module), copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(other(x), expected)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_blocks_train(row: list[Any]) -> None:
    module = block(row).train()
    x = torch.randn(4, 16, 12, 12, requires_grad=True)
    module(x).square().mean().backward()
    assert x.grad is not None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_blocks_can_be_pruned() -> None:
    tp = pytest.importorskip("torch_pruning")
    rows = [row for name, row in ROWS.items() if name != "Fire"]
    model = build({"input_channel": 3, "depth_multiple": 1, "width_multiple": 1, "backbone": [*rows, *HEAD]})
    x: Tensor = torch.randn(2, 3, 256, 256)
    before = sum(p.numel() for p in model.parameters())
    pruner = tp.pruner.MagnitudePruner(
        model, x, tp.importance.MagnitudeImportance(), pruning_ratio=0.5, ignored_layers=[model[-1]]
    )
    pruner.step()
    assert sum(p.numel() for p in model.parameters()) < 0.5 * before
    assert model(x).shape == (2, 6)
