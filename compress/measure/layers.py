"""What each layer of a net costs, counted: a row a kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from compress.ops.trace import Kernel


@dataclass(frozen=True)
class LayerRow:
    """One kernel of one image's forward pass.

    Attributes:
        name: the module that runs it; empty for the net itself.
        kind: ``dense``, ``pointwise``, ``depthwise``, ``grouped`` (convolutions), ``linear``, ``add``,
            ``mul``, ``pool``, ``act`` (one that no layer can apply), ``cat``, ``copy`` or ``other``.
        shape, out: of its (largest) input and of its output, without the batch.
        kernel, stride, groups: of a convolution.
        act: the activation function it applies.
        merged: the modules of the norms and activations it takes in.
        params: elements of its weights, norms folded.
        macs: multiply-accumulates.
        memory: elements read, written, and weights.
        activations: elements of a convolution's output, else 0.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    groups: int
    act: str | None
    merged: tuple[str, ...]
    params: int
    macs: int
    memory: int
    activations: int


def row_of(kernel: Kernel) -> LayerRow:
    """The row of one kernel of a trace of one image."""
    op = kernel.op
    return LayerRow(
        name=op.module,
        kind=conv_kind(kernel) if op.kind == "conv" else op.kind,
        shape=max(op.shapes, key=math.prod)[1:],
        out=op.out[1:],
        kernel=op.kernel,
        stride=op.stride,
        groups=op.groups,
        act=kernel.act,
        merged=tuple(part.module for part in kernel.fused),
        params=op.params,
        macs=op.macs,
        memory=kernel.memory,
        activations=kernel.written if op.kind == "conv" else 0,
    )


def conv_kind(kernel: Kernel) -> str:
    """``dense`` (k x k), ``pointwise`` (1 x 1), ``depthwise`` (a group a channel) or ``grouped``."""
    op = kernel.op
    if op.groups > 1:
        return "depthwise" if op.groups == op.shapes[0][1] else "grouped"
    return "pointwise" if math.prod(op.kernel) == 1 else "dense"


def peak_bytes(kernels: Sequence[Kernel], example: Tensor) -> int:
    """Bytes of activations alive at once, at most; see ``Counts``."""
    from compress.ops.trace import INPUT

    last = {i: i for i in range(len(kernels))}  # of each kernel's result, the kernel that reads it last
    last[INPUT] = INPUT
    for i, kernel in enumerate(kernels):
        last.update(dict.fromkeys(kernel.reads, i))
    if kernels:
        last[len(kernels) - 1] = len(kernels)
    size = {i: kernel.written * kernel.op.itemsize for i, kernel in enumerate(kernels)}
    size[INPUT] = example.numel() * example.element_size()
    made = [*size]
    return max(
        (sum(size[m] for m in made if m <= now <= last[m]) for now in range(len(kernels))),
        default=size[INPUT],
    )
