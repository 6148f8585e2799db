"""Weighted sums over measured chains, such as with minus without a stage, with their noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from compress.ablation.estimates import Estimate, Noise, estimate
from compress.measure.draws import Draws
from compress.paired import Points, Split
from compress.ratio import Z95
from compress.spec import digest

if TYPE_CHECKING:
    from compress.ablation.variants import Link
    from compress.data.images import ImageSet
    from compress.measure.score import Metric
    from compress.step import Score, Step

Floats = NDArray[np.float64]
Chain = tuple["Link", ...]
Figure = Literal["score_val", "score_test", "f1_val", "f1_test", "time"]  # time: its logarithm
Contrast = Mapping[Chain, float]

SAMPLES = 1000
C = TypeVar("C")


@dataclass(frozen=True)
class Measured:
    """A chain's figures: the score of the net it ends with, the step of its last stage, the net's digest."""

    score: Score
    step: Step
    net: str


@dataclass(frozen=True)
class Images:
    """The images of one split: their classes, a digest that equal splits share, and their groups if any."""

    targets: NDArray[np.int64]
    digest: str
    groups: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, data: ImageSet) -> Images:
        return cls(data.targets, digest(data.targets.tolist(), data.names), data.groups)


@dataclass
class Seed:
    """What one seed measured in one runtime: every variant and every beginning of one.

    Attributes:
        images: what val and test hold.
    """

    seed: int
    metric: Metric
    chains: dict[Chain, Measured]
    images: dict[Split, Images]
    _drawn: dict[tuple[Chain, Figure], Floats] = field(default_factory=dict, repr=False)

    def value(self, contrast: Contrast, figure: Figure) -> float:
        """The weighted sum of the measured figures."""
        return sum(weight * _value(self.chains[chain].score, figure) for chain, weight in contrast.items())

    def by_images(self, contrast: Contrast, figure: Figure) -> Floats | float:
        """The weighted sum over bootstrap samples of the split's images, the same for all chains."""
        if figure == "time":
            return 0.0
        return sum(weight * self._images(chain, figure) for chain, weight in contrast.items())

    def clock_variance(self, contrast: Contrast, figure: Figure) -> float:
        """Variance of the weighted sum from the clock: each net was timed in a session of its own.

        Chains that end with one net, as those with a skipped stage, share its timing.
        """
        weights: dict[int, float] = defaultdict(float)
        for chain, weight in contrast.items():
            weights[id(self.chains[chain].score)] += weight
        scores = {id(self.chains[chain].score): self.chains[chain].score for chain in contrast}
        return sum(
            (weights[i] * _clock_spread(self.metric, score, figure)) ** 2 for i, score in scores.items()
        )

    def _images(self, chain: Chain, figure: Figure) -> Floats:
        if (chain, figure) not in self._drawn:
            score = self.chains[chain].score
            points = self._points[_split(figure)]
            drawn = points.f1(score) if figure.startswith("f1") else points.of(score)
            self._drawn[chain, figure] = drawn
        return self._drawn[chain, figure]

    @cached_property
    def _points(self) -> dict[Split, Points]:
        any_score = next(iter(self.chains.values())).score
        return {
            split: Points(self.metric, any_score, _draws(images), split)
            for split, images in self.images.items()
        }


def measure(contrast: Contrast, figure: Figure, seeds: Sequence[Seed]) -> Estimate:
    """Mean over the seeds, with an interval; of ``time`` the mean logarithm."""
    return estimate([seed.value(contrast, figure) for seed in seeds], noise(contrast, figure, seeds))


def noise(contrast: Contrast, figure: Figure, seeds: Sequence[Seed]) -> Noise:
    """What is known of the noise of the mean over ``seeds``."""
    own = sum(seed.clock_variance(contrast, figure) for seed in seeds) / len(seeds) ** 2
    images = [np.asarray(seed.by_images(contrast, figure)) for seed in seeds]
    if len({seed.images[_split(figure)].digest for seed in seeds}) == 1:  # the same errors in all seeds
        return Noise(own, float(np.var(np.mean(images, axis=0))))
    return Noise(own + sum(float(np.var(one)) for one in images) / len(seeds) ** 2, 0.0)


def largest_block(seeds: Sequence[Seed], found: Sequence[set[C]]) -> tuple[list[C], list[Seed]]:
    """Items that were found in all of some seeds, and these seeds: the most items x seeds there are.

    A seed that was cut short does not count then, nor a chain that failed in one seed.
    """
    by_size = sorted(range(len(seeds)), key=lambda i: -len(found[i]))
    best: tuple[set[C], int] = (set(), 0)
    for count in range(1, len(seeds) + 1):
        common = set.intersection(*(found[i] for i in by_size[:count]))
        if len(common) * count >= len(best[0]) * best[1]:
            best = common, count
    chosen = set(by_size[: best[1]])
    return sorted(best[0], key=repr), [seed for i, seed in enumerate(seeds) if i in chosen]


def _draws(images: Images) -> Draws:
    """Equal images get equal samples, whichever seed asks."""
    return Draws.of(images.targets, images.groups, SAMPLES, int(images.digest[:8], 16))


def _split(figure: Figure) -> Split:
    return "test" if figure.endswith("test") else "val"


def _value(score: Score, figure: Figure) -> float:
    return {
        "score_val": score.points_val,
        "score_test": score.points_test,
        "f1_val": score.f1_val,
        "f1_test": score.f1_test,
        "time": float(np.log(score.time.median)),
    }[figure]


def _clock_spread(metric: Metric, score: Score, figure: Figure) -> float:
    """Standard deviation of a figure from the clock alone."""
    if figure == "time":
        return score.time.log_spread
    if figure.startswith("f1"):
        return 0.0
    f1 = score.base.f1_test if figure == "score_test" else score.base.f1_val
    filled = metric.with_base(f1=f1, time=score.base.time_ms, macs=score.base.macs)
    mine = score.f1_test if figure == "score_test" else score.f1_val
    ends = [
        filled.points(f1=mine, time=score.base.time_ms * ratio, macs=score.macs)
        for ratio in (score.time.low, score.time.high)
    ]
    return abs(ends[1] - ends[0]) / (2 * Z95)
