"""Allowed widths, notches and the search among them, against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.ops.widths import Group, allowed_widths, lowest, nearest, notches, widths_after


@pytest.mark.parametrize(
    ("width", "round_to", "max_layer", "blocks", "expected"),
    [
        (64, 16, 1.0, 1, (16, 32, 48, 64)),
        (64, 16, 0.5, 1, (32, 48, 64)),
        (72, 16, 0.8, 1, (16, 32, 48, 64, 72)),  # not a multiple itself: may stay as it is
        (24, 16, 1.0, 1, (16, 24)),
        (16, 16, 1.0, 1, (16,)),
        (12, 16, 1.0, 1, (8, 12)),  # narrower than round_to: multiples of 8
        (8, 16, 1.0, 1, (8,)),
        (5, 4, 1.0, 1, (4, 5)),
        (3, 4, 1.0, 1, (3,)),
        (10, 1, 0.3, 1, (7, 8, 9, 10)),
        (96, 16, 0.6, 12, (48, 96)),  # blocks of a grouped convolution stay equal
    ],
)
def test_allowed_widths(
    width: int, round_to: int, max_layer: float, blocks: int, expected: tuple[int, ...]
) -> None:
    assert allowed_widths(width, round_to=round_to, max_layer=max_layer, blocks=blocks) == expected


def test_a_width_above_the_blocks_of_a_grouped_convolution() -> None:
    assert allowed_widths(96, round_to=16, max_layer=1.0, blocks=16, above=16) == (32, 48, 64, 80, 96)
    assert allowed_widths(16, round_to=16, max_layer=1.0, blocks=16, above=16) == (16,)


def _group(name: str, width: int, *allowed: int, blocks: int = 1) -> Group:
    return Group(name, width, (*allowed, width), blocks, (name,))


def test_the_price_of_a_notch_is_the_mean_score_of_what_it_removes() -> None:
    group = _group("a", 5, 1, 3)
    order = notches([group], {"a": torch.tensor([9.0, 1.0, 7.0, 3.0, 5.0])})
    assert [(n.price, n.width) for n in order] == [(2.0, 3), (6.0, 1)]


def test_global_takes_from_the_group_with_low_scores_local_from_all_alike() -> None:
    groups = [_group("a", 4, 1, 2, 3), _group("b", 8, 2, 4, 6)]
    scores = {"a": torch.full((4,), 5.0), "b": torch.ones(8)}
    assert [n.group for n in notches(groups, scores)] == ["b", "b", "b", "a", "a", "a"]
    assert [n.group for n in notches(groups, None)] == ["a", "b", "a", "b", "a", "b"]


@given(st.data())
def test_nearest_is_at_least_as_near_as_every_number_of_cheapest_notches(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True))
    groups = [_group(n, 8, *range(1 + data.draw(st.integers(0, 6)), 8)) for n in names]
    weight = {n: data.draw(st.integers(1, 1000)) for n in names}
    scores = {n: torch.tensor(data.draw(st.lists(st.floats(0, 9), min_size=8, max_size=8))) for n in names}
    goal = data.draw(st.floats(0, 8.0 * sum(weight.values())))

    def macs(widths: dict[str, int]) -> int:
        return sum(weight[n] * widths.get(n, 8) for n in names)

    order = notches(groups, scores)
    taken = nearest(order, macs, goal)
    prefixes = [order[:count] for count in range(1, len(order) + 1)]
    assert abs(macs(widths_after(taken)) - goal) <= min(abs(macs(widths_after(p)) - goal) for p in prefixes)
    assert taken
    widths = widths_after(taken)
    assert all(widths[n] == min(t.width for t in taken if t.group == n) for n in widths)


def test_a_notch_that_overshoots_is_passed_over_for_dearer_ones() -> None:
    groups = [_group("big", 2, 1), _group("small", 16, *range(1, 16))]
    scores = {"big": torch.zeros(2), "small": torch.arange(1.0, 17.0)}
    weight = {"big": 1000, "small": 10}

    def macs(widths: dict[str, int]) -> int:
        return sum(w * widths.get(n, {"big": 2, "small": 16}[n]) for n, w in weight.items())

    taken = nearest(notches(groups, scores), macs, goal=macs({}) - 70)
    assert widths_after(taken) == {"small": 9}


def test_lowest_takes_the_lowest_scores_and_the_lower_index_of_equal_ones() -> None:
    scores = torch.tensor([2.0, 1.0, 3.0, 1.0, 1.0])
    assert lowest(_group("a", 5, 1), 3, scores) == [1, 3]


def test_lowest_takes_the_same_channels_of_every_block() -> None:
    group = _group("a", 6, 2, 4, blocks=2)
    assert lowest(group, 4, torch.tensor([5.0, 1.0, 9.0])) == [1, 4]
    assert lowest(group, 4) == [2, 5]


def test_every_subset_of_widths_is_reached_by_some_goal() -> None:
    """The bisection can end at any number of notches: none is out of its reach."""
    order = notches([_group("a", 4, 1, 2, 3), _group("b", 4, 1, 2, 3)], None)
    sizes = itertools.product([4, 3, 2, 1], repeat=2)
    goals = {a + b for a, b in sizes} - {8}

    def macs(widths: dict[str, int]) -> int:
        return widths.get("a", 4) + widths.get("b", 4)

    assert {macs(widths_after(nearest(order, macs, goal))) for goal in goals} == goals
