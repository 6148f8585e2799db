"""The interval of a paired ratio of times: what the blocks say, and what the loads say.

Two things move a measured ratio. The machine changes from block to block; neighbouring blocks depend on
each other, so a circular block bootstrap (Politis and Romano, A circular block-resampling procedure for
stationary data, 1992) tells how far that goes. And each load of a model lands elsewhere in memory, which
makes it about one percent faster or slower for as long as it lives (Mytkowicz et al., Producing wrong data
without doing anything obviously wrong!, 2009): no number of blocks averages that out, only further loads
do (Kalibera and Jones, Rigorous benchmarking in reasonable time, 2013). The two add up as independent errors
do; the noise of single sections is in both, so the interval is rather too wide than too narrow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SAMPLES = 200
_BLOCKS_APART = 6  # so many stretches a session is drawn in: longer ones than n ** (1/3), for slow drifts


def log_ratio(candidate: Floats, reference: Floats, seed: int = 0) -> tuple[float, float, float]:
    """The log ratio of two runs' times with its 95 % interval: (estimate, low, high).

    Args:
        candidate, reference: blocks x loads, the log time of each load in each block, NaN where it does not
            count; every load counts at least once. The blocks of both are the same moments.
    """
    index = np.arange(len(candidate))[None]
    mine, other = (levels[0] for levels in _levels(candidate, reference, index))
    at = float(mine.mean() - other.mean())
    half = float(
        np.hypot(_half_width_of_blocks(candidate, reference, seed), _half_width_of_loads(mine, other))
    )
    return at, at - half, at + half


def _levels(candidate: Floats, reference: Floats, index: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Samples x loads of both: each load's median over the blocks in a row of ``index``.

    Relative to the middle of its block, so that what slows a whole block cancels.
    """
    middle = (np.nanmedian(candidate, axis=1) + np.nanmedian(reference, axis=1)) / 2
    return (
        _median_of_blocks((candidate - middle[:, None])[index]),
        _median_of_blocks((reference - middle[:, None])[index]),
    )


def _median_of_blocks(drawn: Floats) -> Floats:
    """Over the second axis, NaN left out; many times as fast as ``np.nanmedian``."""
    ordered = np.sort(drawn, axis=1)  # NaN goes last
    count = np.maximum((~np.isnan(drawn)).sum(axis=1, keepdims=True), 1)
    low = np.take_along_axis(ordered, (count - 1) // 2, axis=1)
    high = np.take_along_axis(ordered, count // 2, axis=1)
    medians: Floats = ((low + high) / 2)[:, 0]
    return medians


def _half_width_of_loads(candidate: Floats, reference: Floats) -> float:
    """Two-sample t interval with one variance for both; 0 when neither was loaded twice."""
    from scipy.special import stdtrit

    free = len(candidate) + len(reference) - 2
    if free == 0:
        return 0.0
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in (candidate, reference))
    error = np.sqrt(squares / free * (1 / len(candidate) + 1 / len(reference)))
    return float(stdtrit(free, 0.975) * error)


def _half_width_of_blocks(candidate: Floats, reference: Floats, seed: int) -> float:
    """Student's t and not the normal, for the stretches drawn are few: see Hesterberg (What teachers should
    know about the bootstrap, 2015) on why plain percentiles would be too narrow."""
    from scipy.special import stdtrit

    n = len(candidate)
    length = max(1, round(n ** (1 / 3)), n // _BLOCKS_APART)
    drawn = -(-n // length)
    if drawn < 2:
        return float("inf")
    starts = np.random.default_rng(seed).integers(0, n, (_SAMPLES, drawn))
    index = ((starts[:, :, None] + np.arange(length)) % n).reshape(_SAMPLES, -1)[:, :n]
    mine, other = _levels(candidate, reference, index)
    # A load that a sample missed altogether says nothing there.
    ratios = np.nanmean(mine, axis=1) - np.nanmean(other, axis=1)
    error = float(np.nanstd(ratios, ddof=1)) * np.sqrt(drawn / (drawn - 1))
    return float(stdtrit(drawn - 1, 0.975) * error)
