"""The interval of a paired ratio, on simulated sessions: how often equal runs are called different."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.measure.interval import log_ratio


def autoregressive(rng, shape, phi, heavy=False):
    """Along the first axis, standard deviation about 1 (heavier tails: Student's t with 3 degrees)."""
    noise = rng.standard_t(3, shape) if heavy else rng.normal(size=shape)
    out = np.empty(shape)
    out[0] = noise[0]
    for i in range(1, len(out)):
        out[i] = phi * out[i - 1] + np.sqrt(1 - phi**2) * noise[i]
    return out


def session(rng, blocks, loads, phi, heavy=False, load_sd=0.0, effect=0.0, noise=0.1):
    """Log times of two runs: a machine that drifts far, noise of each section, luck of each load."""
    machine = 0.3 * autoregressive(rng, (blocks, 1), 0.95)
    sides = []
    for _ in range(2):
        own = autoregressive(rng, (blocks, 1), phi, heavy)  # what the loads of one run share
        each = autoregressive(rng, (blocks, loads), 0.0, heavy)
        shared = own if loads == 1 else 0.3 * own
        sides.append(machine + noise * (shared + (loads > 1) * each) + load_sd * rng.normal(size=loads))
    return sides[0] + effect, sides[1]


def share_called_different(n, **how):
    called = 0
    for seed in range(n):
        candidate, reference = session(np.random.default_rng(seed), **how)
        _, low, high = log_ratio(candidate, reference, seed)
        called += not low <= 0 <= high
    return called / n


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(("blocks", "phi"), [(40, 0.0), (40, 0.3), (80, 0.5), (160, 0.6)])
def test_one_load_whose_blocks_depend_on_each_other(blocks, phi, heavy):
    assert share_called_different(200, blocks=blocks, loads=1, phi=phi, heavy=heavy) <= 0.08


@pytest.mark.parametrize("loads", [2, 4])
@pytest.mark.parametrize(("blocks", "phi"), [(6, 0.0), (30, 0.3), (60, 0.6)])
def test_loads_that_differ_for_good(loads, blocks, phi):
    got = share_called_different(200, blocks=blocks, loads=loads, phi=phi, load_sd=0.02, noise=0.03)
    assert got <= 0.08


def test_without_the_loads_the_same_data_would_be_called_different():
    """What one load a side makes of loads that differ: the defect that several loads mend."""
    called = 0
    for seed in range(100):
        a, b = session(np.random.default_rng(seed), 60, 4, 0.0, load_sd=0.02, noise=0.03)
        _, low, high = log_ratio(a[:, :1], b[:, :1], seed)
        called += not low <= 0 <= high
    assert called >= 40


def test_a_true_difference_is_found():
    found = 0
    for seed in range(100):
        slow, fast = session(np.random.default_rng(seed), 40, 4, 0.2, load_sd=0.01, effect=0.05, noise=0.03)
        at, low, _ = log_ratio(slow, fast, seed)
        found += low > 0
        assert at == pytest.approx(0.05, abs=0.05)
    assert found >= 85


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), loads=st.integers(1, 4), blocks=st.integers(6, 40), lost=st.floats(0.0, 0.4)
)
def test_swapping_the_sides_or_slowing_whole_blocks_changes_nothing(seed, loads, blocks, lost):
    rng = np.random.default_rng(seed)
    a, b = session(rng, blocks, loads, 0.2)
    for side in (a, b):  # sections that do not count, but at least one of each load and block
        gone = rng.random(side.shape) < lost
        gone[:, rng.integers(loads)] = gone[rng.integers(blocks)] = False
        side[gone] = np.nan
    at, low, high = log_ratio(a, b)
    assert np.isfinite([at, low, high]).all()
    assert low <= at <= high
    assert log_ratio(b, a) == pytest.approx((-at, -high, -low))
    slowed = rng.normal(size=(blocks, 1))
    assert log_ratio(a + slowed, b + slowed) == pytest.approx((at, low, high))
    assert log_ratio(a + 1.0, b)[0] == pytest.approx(at + 1.0)


def test_the_estimate_is_the_slow_obvious_one():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 3)), rng.normal(size=(9, 3))
    a[2, 1] = np.nan
    levels = []
    for side in (a, b):
        for load in range(3):
            rows = [
                side[i, load] - (np.nanmedian(a[i]) + np.nanmedian(b[i])) / 2
                for i in range(9)
                if not np.isnan(side[i, load])
            ]
            levels.append(float(np.median(rows)))
    assert log_ratio(a, b)[0] == pytest.approx(np.mean(levels[:3]) - np.mean(levels[3:]))


def test_one_block_tells_nothing():
    at, low, high = log_ratio(np.array([[0.5]]), np.array([[0.0]]))
    assert (at, low, high) == (0.5, -np.inf, np.inf)
