"""Nets to calibrate a latency table with: short, unlike each other, of the blocks that nets are made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from compress.net import Net, Preprocess

if TYPE_CHECKING:
    from torch import nn

_SIZES = (32, 64, 96, 128, 160, 192, 224)
_ACTIVATIONS = ("ReLU", "ReLU6", "Hardswish", "SiLU")
_COMMON = (0.25, 0.3, 0.35, 0.1)  # how often each is drawn


def probe(seed: int) -> Net:
    """The probe of that number, freshly initialised: 3 to 12 blocks on images of 32 to 224 pixels."""
    import torch

    from compress.models.blocks import Conv

    rng = np.random.default_rng(seed)
    size = _SIZES[seed % len(_SIZES)]  # in turn, so that few probes cover them all
    act = str(rng.choice(_ACTIVATIONS, p=_COMMON))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        channels = _width(rng, 8, 32)
        layers: list[nn.Module] = [Conv(3, channels, 3, 2, 1, activation=act)]
        side, blocks = size // 2, int(rng.integers(3, 13))
        plain = seed % 4 == 3  # of dense convolutions, as ResNets are
        halvings = set(rng.choice(blocks, min(blocks - 1, int(math.log2(side / 4)), 4), replace=False))
        for i in range(blocks):
            stride = 2 if i in halvings else 1
            low, high = (8, 40) if side > 28 else (16, 112) if side > 10 else (40, 200)
            out = channels if stride == 1 and rng.random() < 0.6 else _width(rng, low, high * (1 + plain))
            layers.append((_plain if plain else _block)(rng, channels, out, stride, act))
            channels, side = out, -(-side // stride)
        classes = _width(rng, 8, 1000)
        layers += _head(rng, channels, classes, act)
        module = _sequential(layers)
    return Net(module, Preprocess(size), tuple(map(str, range(classes))))


def _block(rng: np.random.Generator, channels: int, out: int, stride: int, act: str) -> nn.Module:
    """An inverted residual, now and then a dense convolution."""
    from compress.models.blocks import Conv, InvertedResidualv3
    from compress.models.layers import divisible

    if rng.random() < 0.1:
        return Conv(channels, out, 3, stride, 1, activation=act)
    kernel = int(rng.choice([3, 5, 7], p=[0.55, 0.35, 0.1]))
    hidden = divisible(channels * float(rng.choice([1, 2, 3, 4, 6])))
    squeeze = divisible(hidden / 4) if rng.random() < 0.4 else 0
    return InvertedResidualv3(channels, hidden, out, kernel, stride, squeeze, act)


def _plain(rng: np.random.Generator, channels: int, out: int, stride: int, act: str) -> nn.Module:
    """Two 3 x 3 convolutions with a shortcut, or one."""
    from torch import nn

    from compress.models.blocks import Conv, Residual

    first = Conv(channels, out, 3, stride, 1, activation=act)
    if rng.random() < 0.5:
        return first
    return Residual(
        nn.Sequential(first, Conv(out, out, 3, 1, 1, activation=None)), channels == out and stride == 1
    )


def _head(rng: np.random.Generator, channels: int, classes: int, act: str) -> list[nn.Module]:
    from torch import nn

    from compress.models.blocks import Conv, Linear

    wide = _width(rng, 96, 1280)
    pooled = [Conv(channels, wide, 1, activation=act), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if rng.random() < 0.4:
        return [*pooled, Linear(wide, classes)]
    hidden = _width(rng, 128, 1536)
    return [*pooled, Linear(wide, hidden, act), Linear(hidden, classes)]


def _sequential(layers: list[nn.Module]) -> nn.Module:
    from torch import nn

    return nn.Sequential(*layers).eval()


def _width(rng: np.random.Generator, low: int, high: int) -> int:
    """A multiple of 8, of all magnitudes alike."""
    return max(8, round(math.exp(rng.uniform(math.log(low), math.log(high))) / 8) * 8)
