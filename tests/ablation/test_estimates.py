"""The intervals cover what they say, by simulation, and fall back to textbook ones where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from compress.ablation.estimates import Estimate, Noise, behind_the_best, estimate

NONE = Noise(0.0, 0.0)


def test_with_nothing_known_it_is_student_s_paired_interval() -> None:
    values = [0.1, 0.3, 0.2, -0.1]
    got = estimate(values, NONE)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (got.mean, got.low, got.high) == pytest.approx((np.mean(values), low, high))


def test_with_one_seed_it_is_the_known_noise() -> None:
    got = estimate([0.5], Noise(own=0.03**2, shared=0.04**2))
    assert (got.low, got.high) == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=1e-4)


def test_equal_seeds_cannot_make_an_interval_narrower_than_the_known_noise() -> None:
    got = estimate([0.2, 0.2, 0.2], Noise(own=0.01**2, shared=0.0))
    assert got.high - got.low == pytest.approx(2 * 1.96 * 0.01, rel=1e-3)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("training", "own", "shared"), [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0.3, 1, 1), (1, 0, 2)]
)
def test_intervals_cover_the_truth(seeds: int, training: float, own: float, shared: float) -> None:
    rng = np.random.default_rng(0)
    runs, hits = 2000, 0
    for _ in range(runs):
        noise = rng.normal(0, training, seeds) + rng.normal(0, own, seeds) + rng.normal(0, shared)
        got = estimate(list(3.0 + noise), Noise(own**2 / seeds, shared**2))
        hits += got.low <= 3.0 <= got.high
    assert 0.935 <= hits / runs <= 1.0


@pytest.mark.parametrize(("seeds", "noise"), [(3, 1.0), (2, 1.0), (3, 0.0)])
def test_of_equal_chains_all_are_tied_with_the_best(seeds: int, noise: float) -> None:
    rng = np.random.default_rng(1)
    runs, own, called = 400, 0.5, 0
    for _ in range(runs):
        block = rng.normal(0, 5, (seeds, 1))  # a seed makes all chains better or worse alike
        values = block + rng.normal(0, noise, (seeds, 8)) + rng.normal(0, own, (seeds, 8))
        behind = behind_the_best(values, [Noise(2 * own**2 / seeds, 0.0)] * 8)
        called += not all(one.has_zero for one in behind)
    assert called / runs <= 0.08


def test_a_chain_that_is_really_better_is_no_tie() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0, 0.01, (3, 6))
    values[:, 4] -= 0.5
    behind = behind_the_best(values, [NONE] * 6)
    assert behind[4] == Estimate(0.0, 0.0, 0.0)
    assert all(one.low > 0 for i, one in enumerate(behind) if i != 4)


def test_two_chains_are_compared_by_student_s_paired_interval() -> None:
    values = np.array([[0.0, 0.3], [0.1, 0.2], [0.0, 0.5]])
    got = behind_the_best(values, [NONE, NONE])[1]
    difference = values[:, 1] - values[:, 0]
    low, high = stats.t.interval(0.95, 2, np.mean(difference), stats.sem(difference))
    assert (got.low, got.high) == pytest.approx((low, high), rel=1e-3)


def test_one_seed_ranks_by_the_known_noise() -> None:
    got = behind_the_best(np.array([[0.0, 0.1]]), [Noise(0, 0), Noise(0.02**2, 0.0)])[1]
    assert (got.low, got.high) == pytest.approx((0.1 - 1.96 * 0.02, 0.1 + 1.96 * 0.02), abs=1e-3)
