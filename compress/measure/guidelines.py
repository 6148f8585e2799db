"""The four guidelines of ShuffleNet V2 (Ma et al., 2018, https://arxiv.org/abs/1807.11164), layer by layer.

They say when a net takes longer than its multiply-accumulates (MACs) promise. Each gives a number that is
1 at its ideal, and speaks against a layer or block from a threshold on. A fifth rule is of this project:
vector instructions take 16 channels at once, so other widths cost as much as the next multiple of 16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.measure.layers import LayerRow, row_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.ops.trace import Kernel

LANES = 16
# What a CPU core does in the time of one multiply-accumulate: for the guidelines' cost, in MACs.
MACS_AN_ELEMENT = 8  # one element moved
MACS_A_KERNEL = 50_000  # one kernel launched

_WIDTHS = 1.25  # G1: from channels as 1 to 4
_GROUPS = 1.25  # G2
_PADDED = 1.1  # channels
_ELEMENTWISE = 0.25  # G4: share of a block's memory access


@dataclass(frozen=True)
class LayerGuide:
    """What the guidelines say of one kernel.

    Attributes:
        row: the kernel.
        widths: G1, memory access over its lower bound for these MACs (1 x 1 convolutions); else 1.
        groups: G2, memory access over that of a layer without groups, of the same input and MACs; else 1.
        padded: MACs with all channels filled up to a multiple of 16, over its MACs.
        small: G3, its MACs take less time than its launch.
        elementwise: G4, it is an addition, multiplication, pool or activation run on its own.
        cost: predicted time in MACs: arithmetic at full vectors, elements moved, a launch.
    """

    row: LayerRow
    widths: float
    groups: float
    padded: float
    small: bool
    elementwise: bool
    cost: float

    @property
    def against(self) -> tuple[str, ...]:
        """The guidelines that speak against it, with their numbers."""
        found = []
        if self.widths > _WIDTHS:
            found.append(f"G1 {self.widths:.1f}x")
        if self.groups > _GROUPS:
            found.append(f"G2 {self.groups:.1f}x")
        if self.small:
            found.append("G3 small")
        if self.elementwise:
            found.append("G4")
        if self.padded > _PADDED:
            found.append(f"16s {self.padded:.1f}x")
        return tuple(found)


@dataclass(frozen=True)
class BlockGuide:
    """What the guidelines say of a block: a module whose parts are not used outside it.

    Attributes:
        name: of the module.
        kernels: G3, how many run.
        branches: G3, kernels over those on the longest path: 1 when all depend on each other.
        macs: of all of them.
        elementwise: G4, share of the block's memory access that additions, multiplications, pools and
            activations run on their own make.
        activations: share of its elements written that activation functions touch once more; a compiling
            runtime applies most of them for free.
    """

    name: str
    kernels: int
    branches: float
    macs: int
    elementwise: float
    activations: float

    @property
    def against(self) -> tuple[str, ...]:
        """The guidelines that speak against it, with their numbers."""
        found = []
        if self.branches > 1.25:
            found.append(f"G3 {self.branches:.1f} branches")
        if self.kernels > 1 and self.macs < self.kernels * MACS_A_KERNEL:
            found.append(f"G3 {self.kernels} kernels for {self.macs / 1e6:.2f} M MACs")
        if self.macs and self.elementwise > _ELEMENTWISE:
            found.append(f"G4 {self.elementwise:.0%} element-wise")
        return tuple(found)


@dataclass(frozen=True)
class Guidelines:
    """All layers in order, and all blocks in order."""

    layers: tuple[LayerGuide, ...]
    blocks: tuple[BlockGuide, ...]


def guidelines(module: nn.Module, example: Tensor) -> Guidelines:
    """What the guidelines say of a float net on one image; ``module`` is left as it is."""
    from compress.ops.trace import kernels, trace

    found = kernels(trace(module, example[:1]))
    layers = tuple(_layer(kernel) for kernel in found)
    names = block_names(module, [kernel.op.module for kernel in found])
    blocks = [
        _block(name, [i for i, of in enumerate(names) if of == name], found) for name in dict.fromkeys(names)
    ]
    return Guidelines(layers, tuple(blocks))


def least_memory(macs: int, positions: int) -> float:
    """Lower bound of a 1 x 1 convolution's memory access: ``2 sqrt(hw B) + B / hw`` for B MACs on hw
    positions, reached with equal input and output channels (Ma et al., equation 2)."""
    return 2 * math.sqrt(positions * macs) + macs / positions


def block_names(module: nn.Module, names: Sequence[str]) -> list[str]:
    """For each of ``names`` the block it lies in: its outermost module that is no mere list of others.

    A sequence of modules is entered, unless it is made of single layers only.
    """
    from torch import nn

    def block(name: str) -> str:
        parts, at = name.split(".") if name else [], module
        for depth, part in enumerate(parts, 1):
            at = at.get_submodule(part)
            listed = isinstance(at, nn.Sequential | nn.ModuleList)
            if not listed or all(next(child.children(), None) is None for child in at.children()):
                return ".".join(parts[:depth])
        return name

    return [block(name) for name in names]


def _layer(kernel: Kernel) -> LayerGuide:
    row = row_of(kernel)
    widths = groups = padded = 1.0
    positions = math.prod(row.out[1:])
    if row.kind == "pointwise" and row.stride == (1, 1):
        widths = (row.memory - row.out[0] * _has_bias(kernel)) / least_memory(row.macs, positions)
    if row.groups > 1:
        rest = kernel.read + row.params
        groups = row.memory / (rest + kernel.written / row.groups)
    if row.macs and positions > 1:
        inputs = 1.0 if row.shape[0] < 4 or row.kind == "depthwise" else _padded(row.shape[0])
        padded = inputs * _padded(row.out[0])
    elementwise = not row.macs and row.kind in ("add", "mul", "pool", "act")
    return LayerGuide(
        row=row,
        widths=widths,
        groups=groups,
        padded=padded,
        small=0 < row.macs < MACS_A_KERNEL,
        elementwise=elementwise,
        cost=row.macs * padded + MACS_AN_ELEMENT * row.memory + MACS_A_KERNEL,
    )


def _has_bias(kernel: Kernel) -> bool:
    """The bound counts no bias."""
    op = kernel.op
    return op.params > op.out[1] * op.shapes[0][1] * math.prod(op.kernel) // op.groups


def _block(name: str, of: list[int], kernels: Sequence[Kernel]) -> BlockGuide:
    own = [kernels[i] for i in of]
    depth: dict[int, int] = {}  # kernels on the longest path within the block that ends here
    for i, kernel in zip(of, own, strict=True):
        depth[i] = 1 + max((depth.get(read, 0) for read in kernel.reads), default=0)
    memory = sum(kernel.memory for kernel in own)
    alone = sum(k.memory for k in own if not k.op.macs and k.op.kind in ("add", "mul", "pool", "act"))
    acts = sum(math.prod(op.out) for k in own for op in k.fused if op.kind == "act")
    written = sum(kernel.written for kernel in own)
    return BlockGuide(
        name=name,
        kernels=len(own),
        branches=len(own) / max(depth.values()),
        macs=sum(kernel.op.macs for kernel in own),
        elementwise=alone / memory,
        activations=acts / (acts + written),
    )


def _padded(channels: int) -> float:
    return -(-channels // LANES) * LANES / channels
