"""How much a front is worth in one number: the area, or volume, that it dominates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import TypeVar

T = TypeVar("T")
Point = tuple[float, ...]
_LEAST = 0.05  # of what is there: about the standard error of an F1 of 0.65 on 250 photos


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Volume between ``reference`` and the points that are better than it in all; of their union, exactly.

    Zitzler and Thiele, Multiobjective evolutionary algorithms: a comparative case study and the strength
    Pareto approach, 1999. By slices (While et al., A faster algorithm for calculating hypervolume, 2006): for
    fronts of some tens of points.

    Args:
        points: a value to maximise and costs to minimise, as (F1, ms); dominated ones add nothing.
        reference: the least value and the greatest costs that count.
    """
    low, *high = reference
    inside = [p for p in points if p[0] > low and all(c < h for c, h in zip(p[1:], high, strict=True))]
    if not high:
        return max((value for (value,) in inside), default=low) - low
    inside.sort(key=lambda point: point[-1])
    ends = [*(point[-1] for point in inside), high[-1]]
    # Between two costs in turn counts what all the cheaper ones dominate without that cost.
    return sum(
        (b - a) * hypervolume([point[:-1] for point in inside[:many]], reference[:-1])
        for many, (a, b) in enumerate(pairwise(ends), start=1)
        if a < b
    )


def by_gain(points: Sequence[Point], reference: Point) -> list[int]:
    """Indices of the points, best first: each adds more volume to those before it than any other would.

    Those that would add less than a twentieth come last, by the volume that each dominates alone: among them
    the ends of a front, where much of one is paid for a little of the other.
    """
    alone = [hypervolume([point], reference) for point in points]
    rest = sorted(range(len(points)), key=lambda i: -alone[i])
    first: list[int] = []
    reached = 0.0
    while rest:
        before = [points[i] for i in first]
        volumes = [hypervolume([*before, points[i]], reference) for i in rest]
        best = max(volumes)
        if best <= reached * (1 + _LEAST):
            break
        reached = best
        first.append(rest.pop(volumes.index(best)))
    return [*first, *rest]


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
