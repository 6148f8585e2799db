"""Kernels as a latency table sees them: what each does, and what that costs in the abstract."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.ops.trace import Kernel

_LANES = 16  # channels that a vector instruction takes at once: fewer cost as many
_CACHED = 2**18  # weights that stay in a core's own cache from one call to the next

# Rough milliseconds, on a CPU core, of one launch, multiply-accumulate, element moved, weight read.
_ROUGH = {
    "net": 5e-3,
    "launch": 5e-4,
    "launch:depthwise": 1e-3,
    "launch:mul": 1e-3,
    "launch:pool": 1e-3,
    "macs": 2e-8,
    "macs:dense": 1e-8,
    "macs:pointwise": 1e-8,
    "moved": 8e-8,
    "act": 5e-8,
    "weights": 4e-8,
    "weights:vector": 8e-8,
    "far": 2e-8,
}
_OWN_LAUNCH = ("depthwise", "mul", "pool")  # kinds whose every run costs something besides


@dataclass(frozen=True)
class Unit:
    """What a kernel's time depends on, for one image.

    Attributes:
        kind: of ``LayerRow``; ``vector`` for a linear layer or a convolution of a 1 x 1 map.
        act: the activation it applies, or None.
        inputs, outputs: channels.
        side: square root of the output's positions.
        kernel, stride: of a convolution, else 1.
        read, written: elements of activations.
        weights: elements of its weights.
        macs: multiply-accumulates.
    """

    kind: str
    act: str | None
    inputs: int
    outputs: int
    side: float
    kernel: int
    stride: int
    read: int
    written: int
    weights: int
    macs: int

    def costs(self) -> dict[str, float]:
        """How much of each cost it has, by the cost's name: ``what:kind``."""
        found: Counter[str] = Counter(launch=1)
        if self.kind in _OWN_LAUNCH:
            found[f"launch:{self.kind}"] += 1
        if self.act is not None:
            found[f"act:{self.act}"] += self.written
        if self.kind == "vector":  # a multiply-accumulate a weight
            found["weights:vector"] += self.weights
        elif self.macs:
            wide = self.kind if self.stride == 1 else f"{self.kind}/{self.stride}"
            # An image's 3 channels are read as they are; wider maps lie in blocks of _LANES.
            full_in = 1.0 if self.inputs < 4 else _padded(self.inputs)
            full_out = _padded(self.outputs)
            across = full_out if self.kind == "depthwise" else full_in * full_out
            found[f"macs:{wide}"] += round(self.macs * across)
            found[f"moved:{wide}"] += round(self.read * full_in + self.written * full_out)
            found[f"weights:{self.kind}"] += self.weights
        else:
            found[f"moved:{self.kind}"] += self.read + self.written
        return {name: float(amount) for name, amount in found.items()}

    def place(self) -> tuple[float, ...]:
        """Where it lies among units of its kind: those a distance of 1 apart are still alike."""
        lanes = (
            1.0 if self.macs and self.side > 1 and (self.inputs % _LANES or self.outputs % _LANES) else 0.0
        )
        return (
            math.log2(self.inputs),
            math.log2(self.outputs),
            math.log2(self.side),
            self.kernel / 2,
            math.log2(self.stride),
            lanes,
        )


def units_of(module: nn.Module, example: Tensor) -> list[Unit]:
    """The kernels that ``module`` runs for one image of ``example``."""
    from compress.ops.trace import kernels, trace

    return [unit_of(kernel) for kernel in kernels(trace(module, example[:1]))]


def unit_of(kernel: Kernel) -> Unit:
    """A kernel of a trace of one image."""
    from compress.measure.layers import conv_kind

    op = kernel.op
    shape = max(op.shapes, key=math.prod)
    positions = math.prod(op.out[2:])
    kind = conv_kind(kernel) if op.kind == "conv" else op.kind
    return Unit(
        kind="vector" if kind == "linear" or (kind == "pointwise" and positions == 1) else kind,
        act=kernel.act,
        inputs=max(shape[1:2], default=1),
        outputs=max(op.out[1:2], default=1),
        side=math.sqrt(positions),
        kernel=max(op.kernel),
        stride=max(op.stride),
        read=kernel.read,
        written=kernel.written,
        weights=op.params,
        macs=op.macs,
    )


def net_costs(net: Sequence[Unit]) -> dict[str, float]:
    """What a net costs besides its kernels: every call, and weights that no cache keeps."""
    return {"net": 1.0, "far": float(max(0, sum(unit.weights for unit in net) - _CACHED))}


def rough(cost: str) -> float:
    """About how many milliseconds one of a cost takes on some CPU."""
    return _ROUGH[cost] if cost in _ROUGH else _ROUGH[cost.split(":")[0]]


def _padded(channels: int) -> float:
    """How much more there is of a map when its channels fill whole vectors."""
    return -(-channels // _LANES) * _LANES / channels
