"""How much a front is worth in one number: the area that it dominates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TypeVar

T = TypeVar("T")
Point = tuple[float, float]


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Area between ``reference`` and the points that are better than it in both; of their union, exactly.

    Zitzler and Thiele, Multiobjective evolutionary algorithms: a comparative case study and the strength
    Pareto approach, 1999; here of two objectives.

    Args:
        points: a value to maximise and a cost to minimise, as (F1, ms); dominated ones add nothing.
        reference: the least value and the greatest cost that count.
    """
    low, high = reference
    area, reached = 0.0, low
    # From the cheapest on, each point adds a strip: what it is worth more, for all costs above its own.
    for value, cost in sorted(points, key=lambda point: (point[1], -point[0])):
        if cost < high and value > reached:
            area += (value - reached) * (high - cost)
            reached = value
    return area


def best_subset(items: Sequence[T], points: Sequence[Point], size: int, reference: Point) -> list[T]:
    """The ``size`` items with the greatest hypervolume together, in their order; all where there are fewer.

    Of subsets that are worth the same, the first. By trying all of them: for fronts of some tens of points.

    Args:
        points: of each item.
    """
    if size >= len(items):
        return list(items)
    best = max(
        combinations(range(len(items)), size),
        key=lambda chosen: hypervolume([points[i] for i in chosen], reference),
    )
    return [items[i] for i in best]
