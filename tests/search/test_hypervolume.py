"""The area of a front against a count of grid cells, and its properties."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.hypervolume import Point, best_subset, by_gain, hypervolume

SIDE = 12
POINTS = st.lists(st.tuples(st.integers(-3, SIDE + 3), st.integers(-3, SIDE + 3)), max_size=8)


def counted(points: list[tuple[int, int]], low: int, high: int) -> int:
    """Unit cells above ``low`` and below ``high`` that a point dominates."""
    return sum(
        any(value >= v + 1 and cost <= c for value, cost in points)
        for v in range(low, SIDE + 3)
        for c in range(-3, high)
    )


@given(POINTS, st.integers(0, 4), st.integers(6, SIDE))
def test_it_is_the_number_of_cells(points: list[tuple[int, int]], low: int, high: int) -> None:
    assert hypervolume(points, (low, high)) == counted(points, low, high)


THREE = st.lists(st.tuples(*[st.integers(-1, 5)] * 3), max_size=6)


@given(THREE, st.tuples(st.integers(0, 2), st.integers(3, 5), st.integers(3, 5)))
def test_of_three_objectives_too(points: list[tuple[int, int, int]], reference: tuple[int, int, int]) -> None:
    low, *high = reference
    cells = product(range(low, 6), *(range(-1, end) for end in high))
    assert hypervolume(points, reference) == sum(
        any(value >= v + 1 and one <= a and other <= b for value, one, other in points) for v, a, b in cells
    )


@given(POINTS)
def test_each_adds_more_than_any_other_would_as_long_as_that_is_worth_it(
    points: list[tuple[int, int]],
) -> None:
    order = by_gain(points, (0, SIDE))
    assert sorted(order) == list(range(len(points)))
    reached, adding = 0.0, True
    for place in range(len(order)):
        before = [points[j] for j in order[:place]]
        worth = [hypervolume([*before, points[j]], (0, SIDE)) for j in order[place:]]
        if adding := adding and max(worth) > 1.05 * reached:
            assert worth[0] == max(worth)
            reached = worth[0]
        else:  # nothing adds any more: what is worth more alone comes first
            alone = [hypervolume([points[j]], (0, SIDE)) for j in order[place:]]
            assert alone == sorted(alone, reverse=True)


def test_what_is_fast_alone_comes_after_what_is_nearly_the_best() -> None:
    points = [(0.3, 0.03), (0.65, 0.08), (0.66, 0.09), (0.71, 0.4)]
    assert by_gain(points, (0.0, 2.0)) == [2, 3, 1, 0]


def test_by_hand() -> None:
    front = [(0.6, 0.5), (0.8, 1.0)]
    assert hypervolume(front, (0.0, 2.0)) == pytest.approx(0.6 * 1.5 + 0.2 * 1.0)
    assert hypervolume([*front, (0.5, 0.9), (0.8, 1.0), (0.9, 2.0)], (0.0, 2.0)) == hypervolume(front, (0, 2))
    assert hypervolume([], (0.0, 2.0)) == hypervolume([(0.7, 2.5)], (0.0, 2.0)) == 0.0


@given(POINTS, st.integers(1, 4))
def test_no_other_subset_is_worth_more(points: list[tuple[int, int]], size: int) -> None:
    found = best_subset(list(enumerate(points)), points, size, (0, SIDE))
    assert len({number for number, _ in found}) == len(found) == min(size, len(points))
    worth = hypervolume([point for _, point in found], (0, SIDE))
    others: list[tuple[Point, ...]] = list(combinations(points, len(found)))
    assert worth == max(hypervolume(other, (0, SIDE)) for other in others)
