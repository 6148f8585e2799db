"""Resampling: against scikit-learn on explicit samples, what pairing buys, and groups drawn whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from compress.measure.draws import Draws


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(5, 40))
def test_f1_of_a_sample_is_scikit_learns_on_its_images(seed: int, classes: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    predictions = rng.integers(0, classes, n)
    draws = Draws.of(targets, samples=3, seed=seed)
    for counts, f1 in zip(draws.counts.astype(int), draws.f1(predictions), strict=True):
        rows = np.repeat(np.arange(n), counts)
        want = f1_score(targets[rows], predictions[rows], average="macro", zero_division=0.0)
        assert f1 == pytest.approx(want)


def test_each_class_keeps_its_size_and_a_seed_gives_the_same_samples() -> None:
    targets = np.repeat([0, 1, 2], [5, 20, 3])
    draws = Draws.of(targets, samples=50, seed=4)
    for target, size in ((0, 5), (1, 20), (2, 3)):
        assert (draws.counts[:, targets == target].sum(axis=1) == size).all()
    assert np.array_equal(draws.counts, Draws.of(targets, samples=50, seed=4).counts)
    assert not np.array_equal(draws.counts, Draws.of(targets, samples=50, seed=5).counts)


def test_pairing_cancels_the_noise_that_two_nets_share() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(300) % 3
    one = np.where(rng.random(300) < 0.8, targets, rng.integers(0, 3, 300))
    other = one.copy()
    other[:4] = (other[:4] + 1) % 3
    draws = Draws.of(targets, samples=500)
    paired = np.std(draws.f1(one) - draws.f1(other))
    apart = np.std(draws.f1(one) - Draws.of(targets, samples=500, seed=1).f1(other))
    assert paired < 0.5 * apart


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 12), st.integers(1, 60))
def test_groups_are_drawn_whole_and_each_class_keeps_its_number_of_them(
    seed: int, classes: int, groups: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    member = rng.integers(0, groups, n)
    target_of = rng.integers(0, classes, groups)
    targets = target_of[member]  # a group is of one class
    draws = Draws.of(targets, member * 7 - 3, samples=20, seed=seed)  # any numbers
    for group in np.unique(member):
        of_group = draws.counts[:, member == group]
        assert (of_group == of_group[:, :1]).all()
    firsts = np.unique(member, return_index=True)[1]
    for target in np.unique(targets):
        mine = firsts[targets[firsts] == target]
        assert (draws.counts[:, mine].sum(axis=1) == len(mine)).all()


def test_a_group_of_several_classes_counts_for_that_of_most_of_its_images() -> None:
    targets = np.array([0, 0, 1, 1, 1, 0, 2])
    member = np.array([0, 0, 0, 1, 1, 1, 2])  # mostly 0, mostly 1, and the only one of 2
    counts = Draws.of(targets, member, samples=5).counts
    assert (counts == 1).all()  # each is alone in its class


def test_groups_of_one_image_are_no_groups() -> None:
    targets = np.array([2, 0, 1, 1, 0, 2, 2])
    alone = Draws.of(targets, np.array([1, 3, 4, 6, 8, 11, 20]), samples=200)
    assert np.array_equal(alone.counts, Draws.of(targets, samples=200).counts)


def test_f1_of_a_sample_with_groups_is_scikit_learns_on_its_images() -> None:
    rng = np.random.default_rng(5)
    targets, member = rng.integers(0, 3, 40), rng.integers(0, 9, 40)  # groups of several classes
    predictions = rng.integers(0, 3, 40)
    draws = Draws.of(targets, member, samples=20)
    assert len({int(n) for n in draws.counts.sum(axis=1)}) > 1  # of other sizes
    for counts, f1 in zip(draws.counts.astype(int), draws.f1(predictions), strict=True):
        rows = np.repeat(np.arange(40), counts)
        want = f1_score(targets[rows], predictions[rows], average="macro", zero_division=0.0)
        assert f1 == pytest.approx(want)


def test_only_with_groups_do_intervals_cover_where_shots_of_one_object_share_their_fate() -> None:
    """60 objects a class, five shots each; 95 % of the objects are right or wrong in all their shots."""
    held = {True: 0, False: 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        targets = np.repeat(np.arange(180) % 3, 5)
        member = np.repeat(np.arange(180), 5)
        by_object = np.repeat(rng.random(180) < 0.7, 5)
        right = np.where(np.repeat(rng.random(180) < 0.95, 5), by_object, rng.random(900) < 0.7)
        other = (targets + rng.integers(1, 3, 180)[member]) % 3
        said = np.where(right, targets, other)
        for grouped in held:
            f1 = Draws.of(targets, member if grouped else None, samples=300, seed=seed).f1(said)
            low, high = np.percentile(f1, [2.5, 97.5])
            held[grouped] += low <= 0.7 <= high  # by symmetry, in a huge set
    assert held[True] >= 178
    assert held[False] <= 150
