"""Means of paired differences and their intervals, from few seeds and noise that is partly known.

What makes two measured chains differ by chance:

- the seed: weights, augmentation, and which images are val; it shows as scatter between the seeds;
- the images a split happens to have: known from the bootstrap. Where each seed has its own val images it
  is part of that scatter; images that all seeds share, as those of test, make the same error in each;
- the clock: known from the intervals of the timings, which each seed has its own of.

So the variance of a mean over S seeds is ``max(scatter / S, own) + shared``: the scatter between seeds, at
least what is known to be in it, and what seeds share. The interval is Student's, its degrees of freedom by
Satterthwaite (An approximate distribution of estimates of variance components, 1946). Seeds are the units:
seeing a stage in more contexts averages more noise away, but adds no degree of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def has_zero(self) -> bool:
        return self.low <= 0 <= self.high

    def exp(self) -> Estimate:
        """Of a mean logarithm: the geometric mean."""
        return Estimate(*(float(np.exp(value)) for value in (self.mean, self.low, self.high)))

    def to_dict(self) -> dict[str, float]:
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Noise:
    """Known variances of a mean over seeds; see the top of this file."""

    own: float
    shared: float


def estimate(values: Sequence[float], noise: Noise) -> Estimate:
    """The mean of one paired difference a seed; with one seed the known noise alone is in its interval."""
    from scipy.stats import t

    mean = float(np.mean(values))
    scatter = float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
    variance = max(scatter, noise.own) + noise.shared
    free = (len(values) - 1) * (variance / scatter) ** 2 if scatter > 0 else np.inf
    return _around(mean, float(t.ppf(0.975, free)) * variance**0.5)


def behind_the_best(values: Floats, noise: Sequence[Noise]) -> list[Estimate]:
    """How far each of several chains is behind the one with the lowest mean.

    The intervals hold together: Tukey's, since the best was picked on the same numbers. The scatter
    between seeds is that of a randomised block design, pooled over the chains.

    Args:
        values: seeds x chains.
        noise: for each chain, of its difference to the best.
    """
    seeds, chains = values.shape
    means = values.mean(axis=0)
    best = int(means.argmin())
    rest = values - means - values.mean(axis=1, keepdims=True) + values.mean()
    free = (seeds - 1) * (chains - 1)
    scatter = 2 * float((rest**2).sum()) / free / seeds if free else 0.0
    factor = _range_factor(chains, free if scatter > 0 else None) if chains > 1 else 0.0
    found = []
    for chain in range(chains):
        behind = float(means[chain] - means[best])
        variance = max(scatter, noise[chain].own) + noise[chain].shared
        found.append(_around(behind, 0.0 if chain == best else factor * variance**0.5))
    return found


def _around(mean: float, half: float) -> Estimate:
    """Equal figures, summed up in another order, differ by dust: it is not told from 0."""
    return Estimate(*(round(value, 12) + 0.0 for value in (mean, mean - half, mean + half)))


@cache
def _range_factor(chains: int, free: int | None) -> float:
    """Tukey's 95 % factor of a difference's standard error; ``free`` None: the variance is known."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(0.95, chains, np.inf if free is None else free)) / 2**0.5
