"""How wide every group of tied layers becomes, so that the net meets a number of MACs.

Widths move in notches (a multiple of 16 to the next), each notch has a price, and notches are taken
cheapest first; the MACs then fall monotonically with the number of notches taken, so that number is
found by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Layers whose output channels can only be removed together.

    Attributes:
        name: the layer the group is called by; channel indices are its output channels.
        width: its output channels now.
        allowed: the widths it may take, ascending; the last is ``width``.
        blocks: of grouped convolutions; every block keeps the same channels. 1 when there are none.
        tied: all convolutions and linear layers of the group with the same channel numbering.
    """

    name: str
    width: int
    allowed: tuple[int, ...]
    blocks: int
    tied: tuple[str, ...]


@dataclass(frozen=True)
class Notch:
    """One group made one allowed width narrower, at a price (lowest first)."""

    price: float
    group: str
    width: int


def allowed_widths(
    width: int, *, round_to: int, max_layer: float, blocks: int = 1, above: int = 0
) -> tuple[int, ...]:
    """``width`` and the smaller widths a layer may take, ascending.

    Those are multiples of ``round_to`` (of 8 for a layer narrower than ``round_to``) that keep every
    block of a grouped convolution equal and at least ``1 - max_layer`` of the channels, and more than
    ``above`` of them.
    """
    unit = math.lcm(round_to if width >= round_to else min(8, round_to), blocks)
    least = max(unit, above + 1, math.ceil(width * (1 - max_layer) - 1e-9))
    return (*range(math.ceil(least / unit) * unit, width, unit), width)


def notches(groups: Sequence[Group], scores: Mapping[str, Tensor] | None) -> list[Notch]:
    """Every notch of every group, cheapest first; a group's own notches come in order.

    The price is the mean score of the channels the notch removes (so groups compete: global), or
    without scores the share of the layer that is then gone (so all shrink alike: local).
    ``scores[group.name]`` has ``width / blocks`` values.
    """
    found = []
    for group in groups:
        size = group.width // group.blocks
        ranked = None if scores is None else scores[group.name].double().sort().values
        for high, low in pairwise(reversed(group.allowed)):
            first, last = (group.width - high) // group.blocks, (group.width - low) // group.blocks
            gone = (first + last) / 2 / size
            found.append(Notch(gone if ranked is None else float(ranked[first:last].mean()), group.name, low))
    return sorted(found, key=lambda notch: notch.price)  # stable: ties keep the order of the net


def widths_after(taken: Sequence[Notch]) -> dict[str, int]:
    """The width of every group that ``taken`` (a prefix of ``notches``) touches."""
    return {notch.group: notch.width for notch in taken}


def nearest(
    order: Sequence[Notch],
    macs: Callable[[dict[str, int]], int],
    goal: float,
    tolerance: float = 0.0,
    rounds: int = 8,
) -> list[Notch]:
    """The notches to take so that the MACs are as near to ``goal`` as they get; at least one.

    The cheapest are taken up to the goal; a notch that would overshoot it is passed over and dearer
    ones tried in its stead, up to ``rounds`` times or until the MACs are within ``tolerance``.

    Args:
        order: from ``notches``, not empty.
        macs: of the net at given widths; never more for more notches taken.
    """

    def miss(taken: Sequence[Notch]) -> float:
        return abs(macs(widths_after(taken)) - goal)

    rest, low = list(order), 0
    best: list[Notch] = []
    for _ in range(rounds):
        high = len(rest)  # rest[:low] leaves more than the goal; rest[:high] no more, or is all there is
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if macs(widths_after(rest[:middle])) <= goal else (middle, high)
        near = [taken for taken in (best, rest[:low], rest[:high]) if taken]
        best = min(near, key=miss)
        if miss(best) <= tolerance or high == len(rest):
            break
        over = rest[high - 1].group
        rest = rest[:low] + [notch for notch in rest[high:] if notch.group != over]
    return best


def lowest(group: Group, width: int, scores: Tensor | None = None) -> list[int]:
    """The output channels to remove so that ``width`` are left: those with the lowest scores.

    ``scores`` has ``width / blocks`` values, one for the same channel of every block; without them
    the last channels go. Ties remove the lower index first.
    """
    size, gone = group.width // group.blocks, (group.width - width) // group.blocks
    ranked = range(size)[::-1] if scores is None else scores.argsort(stable=True).tolist()
    return sorted(block * size + channel for block in range(group.blocks) for channel in ranked[:gone])
