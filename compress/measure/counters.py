"""What can be counted without a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Counts:
    """Attributes:
    params: parameters; buffers are not counted.
    macs: multiply-accumulates of one image.
    layers: convolutions and linear layers.
    memory: memory access cost (Ma et al., ShuffleNet V2, 2018): elements that layers, additions,
        multiplications and pools read and write, weights included; norms are folded, activation
        functions applied in place, views free.
    memory_bytes: the same in bytes.
    activations: elements of the outputs of all convolutions (Radosavovic et al., RegNet, 2020).
    peak_bytes: of the activations alive at once, at most, when every result is freed after its last
        reader and every kernel writes a tensor of its own.
    """

    params: int
    macs: int
    layers: int
    memory: int
    memory_bytes: int
    activations: int
    peak_bytes: int


def count(module: nn.Module, example: Tensor) -> Counts:
    """All counters of a float module; ``example`` is an input with any batch, of which one image counts."""
    from compress.measure.layers import peak_bytes
    from compress.ops.trace import kernels, trace

    found = kernels(trace(module, example[:1]))
    return Counts(
        params=params(module),
        macs=macs(module, example),
        layers=layers(module),
        memory=sum(kernel.memory for kernel in found),
        memory_bytes=sum(kernel.memory * kernel.op.itemsize for kernel in found),
        activations=sum(kernel.written for kernel in found if kernel.op.kind == "conv"),
        peak_bytes=peak_bytes(found, example[:1]),
    )


def params(module: nn.Module) -> int:
    """Parameters; a tensor shared by two layers counts once."""
    return sum(p.numel() for p in module.parameters())


def macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one image: convolutions and matrix products, as aten runs them."""
    from compress.ops.flops import count_macs

    return count_macs(module, example[:1])


def layers(module: nn.Module) -> int:
    """Convolutions and linear layers, subclasses too."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    return sum(isinstance(m, _ConvNd | nn.Linear) for m in module.modules())
