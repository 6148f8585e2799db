"""How right a model is: macro F1 on its own outputs, with intervals by stratified bootstrap (``Draws``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compress.data.images import ImageSet
from compress.errors import CompressError
from compress.measure.draws import Draws, Floats
from compress.ratio import Ratio

Ints = NDArray[np.int64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Quality:
    """What a model's labels are worth on one split.

    Attributes:
        f1: macro F1 as scikit-learn gives it: over the classes present in targets or predictions.
        f1_per_class: by label; None for a class that is in neither.
        confusion: ``confusion[i][j]`` images of class i were called j.
        interval: 95 % of ``f1``, stratified bootstrap.
        predictions: int64 N, the class index given to each image.
        ece: expected calibration error of the probabilities; None where only the labels are known.
    """

    f1: float
    f1_per_class: dict[str, float | None]
    accuracy: float
    n: int
    confusion: tuple[tuple[int, ...], ...]
    interval: Interval
    predictions: Ints = field(repr=False, compare=False)
    ece: float | None = None


def evaluate(
    run: Callable[[np.ndarray], np.ndarray],
    data: ImageSet,
    *,
    batch: int = 32,
    samples: int = 2000,
    seed: int = 0,
) -> Quality:
    """Run a loaded model over a split.

    Args:
        run: uint8 N x H x W x 3 to logits N x C; called with up to ``batch`` images.

    Raises:
        CompressError: the split is empty, or the logits are not N x C finite numbers.
    """
    if len(data) == 0:
        raise CompressError("cannot measure F1 on an empty split")
    parts = [np.asarray(run(data.images[i : i + batch])) for i in range(0, len(data), batch)]
    logits = np.concatenate(parts)
    if logits.shape != (len(data), len(data.labels)):
        raise CompressError(
            f"the model gave logits of shape {logits.shape}, not {(len(data), len(data.labels))}"
        )
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).any(axis=1).sum())
        raise CompressError(f"the model gave NaN or infinite logits for {bad} of {len(data)} images")
    said = logits.argmax(axis=1)
    found = quality(data.targets, said, data.labels, groups=data.groups, samples=samples, seed=seed)
    return replace(found, ece=calibration_error(logits, data.targets))


def quality(
    targets: np.ndarray,
    predictions: np.ndarray,
    labels: Sequence[str],
    *,
    groups: np.ndarray | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> Quality:
    """Quality of class indices ``predictions`` (int N) against ``targets`` (int N).

    Args:
        groups: int N or None, as for ``Draws``.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    every = np.arange(len(labels))
    confusion = confusion_matrix(targets, predictions, labels=every)
    present = (confusion.sum(0) + confusion.sum(1)) > 0
    per_class = f1_score(targets, predictions, labels=every, average=None, zero_division=0.0)
    return Quality(
        f1=float(f1_score(targets, predictions, average="macro", zero_division=0.0)),
        f1_per_class={n: float(f) if p else None for n, f, p in zip(labels, per_class, present, strict=True)},
        accuracy=float(accuracy_score(targets, predictions)),
        n=len(targets),
        confusion=tuple(tuple(int(c) for c in row) for row in confusion),
        interval=_percentiles(Draws.of(targets, groups, samples, seed).f1(predictions)),
        predictions=np.asarray(predictions, dtype=np.int64),
    )


def calibration_error(logits: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: how far confidence is from accuracy, 0 at best.

    Images are sorted into ``bins`` equal ranges of the largest softmax probability; the result is the mean
    over images of their bin's |accuracy - mean confidence| (Guo et al., On Calibration of Modern Neural
    Networks, 2017).

    Args:
        logits: N x C, finite.
        targets: int N.
    """
    values = logits.astype(np.float64)
    weights = np.exp(values - values.max(axis=1, keepdims=True))
    confidence = weights.max(axis=1) / weights.sum(axis=1)
    right = logits.argmax(axis=1) == targets
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    place = np.digitize(confidence, edges, right=True)  # bins are open below and closed above
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def f1_difference_interval(
    targets: np.ndarray,
    predictions: np.ndarray,
    base_predictions: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """95 % interval of macro F1 minus the base's, both on the same resampled images (paired)."""
    draws = Draws.of(targets, groups, samples, seed)
    return _percentiles(draws.f1(predictions) - draws.f1(base_predictions))


class Scorer(Protocol):
    """What of ``compress.measure.score.Metric`` an interval needs."""

    def points(self, *, f1: float, **measured: Any) -> float: ...

    def with_base(self, *, f1: float, time: float | None = None, macs: float | None = None) -> Scorer: ...


def score_interval(
    metric: Scorer,
    targets: np.ndarray,
    predictions: np.ndarray,
    base_predictions: np.ndarray,
    ratio: Ratio,
    *,
    base_time: float = 1.0,
    macs: float | None = None,
    base_macs: float | None = None,
    groups: np.ndarray | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """95 % interval of a model's score on one split, from the noise of its F1, the base's F1 and the time.

    Each sample draws the images once for both models, and the time ratio from a log-normal with
    ``ratio``'s median and interval. Base values that ``metric`` states stay as they are; those left
    out are the resampled baseline's.

    Args:
        ratio: time divided by the baseline's.
        base_time: the baseline's time, needed only when ``metric`` states a ``time_base``.
        macs, base_macs: multiply-accumulates, needed only by a metric that counts them.
        groups: int N or None, as for ``Draws``.
    """
    draws = Draws.of(targets, groups, samples, seed)
    mine, base = draws.f1(predictions), draws.f1(base_predictions)
    times = base_time * ratio.drawn(samples, seed)
    points = [
        metric.with_base(f1=float(b), time=base_time, macs=base_macs).points(
            f1=float(f), time=float(t), macs=macs
        )
        for f, b, t in zip(mine, base, times, strict=True)
    ]
    return _percentiles(np.asarray(points))


def _percentiles(values: Floats) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
