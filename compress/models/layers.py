"""A layer a row stands for: which module, how many channels, and what it does to the map's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


def divisible(value: float) -> int:
    """The multiple of 8 nearest to ``value``, at least 8 and at least 90 % of it."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def same_padding(kernel_size: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, as TensorFlow pads sides that the stride divides."""
    total = max(kernel_size - stride, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Window:
    """A sliding window along one side of the map; ``padding`` is the sum of both ends."""

    kernel: int
    stride: int = 1
    padding: int = 0
    ceil: bool = False

    def out(self, size: int) -> int:
        """Positions the window takes on a side of ``size`` pixels; below 1: it does not fit."""
        room = size + self.padding - self.kernel
        if not self.ceil:
            return room // self.stride + 1
        steps = -(-room // self.stride) + 1
        # as torch: no window may start in the padding after the last pixel
        return steps - 1 if (steps - 1) * self.stride >= size + self.padding // 2 else steps


@dataclass(frozen=True)
class Layer:
    """One module: the class ``module`` of ``blocks`` with ``kwargs``.

    Attributes:
        channels: of the output.
        windows: how rows and columns of the map shrink; empty: they do not.
        output: ``map`` (N x C x H x W), ``pooled`` (N x C x 1 x 1), ``flat`` (N x C), ``same``.
    """

    module: str
    kwargs: dict[str, Any]
    channels: int
    windows: tuple[Window, ...] = ()
    output: Literal["map", "pooled", "flat", "same"] = "map"
