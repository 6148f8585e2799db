"""Paired resampling: against scikit-learn on explicit samples, and what pairing buys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from compress.paired import Draws


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
