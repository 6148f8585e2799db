"""Points of several nets on the same resampled images: for paired intervals.

The bootstrap is stratified, as in ``compress.measure.quality``. Here each sample says how often it holds
each image, so that nets of different runs can share the samples, however many nets there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from compress.measure.score import Metric
    from compress.step import Score

Floats = NDArray[np.float64]
Split = Literal["val", "test"]


@dataclass(frozen=True)
class Draws:
    """Bootstrap samples of the images of one split.

    Attributes:
        targets: int N.
        counts: float32 samples x N: how often a sample holds an image; each class keeps its size.
    """

    targets: np.ndarray
    counts: NDArray[np.float32]

    @classmethod
    def of(cls, targets: np.ndarray, samples: int = 2000, seed: int = 0) -> Draws:
        """Equal targets, samples and seed give equal samples."""
        rng = np.random.default_rng(seed)
        counts = np.zeros((samples, len(targets)), np.float32)
        for target in np.unique(targets):
            where = np.flatnonzero(targets == target)
            picked = (
                rng.integers(0, len(where), (samples, len(where))) + len(where) * np.arange(samples)[:, None]
            )
            flat = np.bincount(picked.ravel(), minlength=samples * len(where))
            counts[:, where] = flat.reshape(samples, len(where))
        return cls(targets, counts)

    @property
    def samples(self) -> int:
        return len(self.counts)

    def f1(self, predictions: Sequence[int] | np.ndarray) -> Floats:
        """Macro F1 on each sample, over the classes in its targets or predictions."""
        labels = np.asarray(predictions)
        every = np.arange(1 + max(int(labels.max()), int(self.targets.max())))
        said = (labels[:, None] == every).astype(np.float32)
        true = (self.targets[:, None] == every).astype(np.float32)
        hits = (self.counts @ (said * true)).astype(np.float64)
        size = (self.counts @ said).astype(np.float64) + true.sum(axis=0)
        f1: Floats = (2 * hits / np.maximum(size, 1)).sum(axis=1) / np.maximum((size > 0).sum(axis=1), 1)
        return f1


class Points:
    """Scores of one metric and base over the samples: the base's F1 is resampled with the nets'.

    Base values that the metric states stay as they are.
    """

    def __init__(self, metric: Metric, score: Score, draws: Draws, split: Split) -> None:
        """``score``: any of the run; all have one base."""
        self._draws, self._split = draws, split
        base = score.base
        own = draws.f1(getattr(base, f"predictions_{split}"))
        self._metrics = [metric.with_base(f1=float(f), time=base.time_ms, macs=base.macs) for f in own]

    def f1(self, score: Score) -> Floats:
        return self._draws.f1(getattr(score, f"predictions_{self._split}"))

    def of(self, score: Score, ratios: Floats | float | None = None) -> Floats:
        """Points per sample of a net that takes ``ratios`` of the base's time; as measured when left out."""
        times = score.base.time_ms * np.broadcast_to(
            score.time.median if ratios is None else ratios, len(self._metrics)
        )
        each = zip(self._metrics, self.f1(score), times, strict=True)
        return np.array([m.points(f1=float(f1), time=float(t), macs=score.macs) for m, f1, t in each])
