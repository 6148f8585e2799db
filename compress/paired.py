"""Points of several nets on the same resampled images, for paired intervals, also of nets of several runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from compress.measure.draws import Draws, Floats

if TYPE_CHECKING:
    from compress.measure.score import Metric
    from compress.step import Score

Split = Literal["val", "test"]


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
