"""Ranges of activations for int8: from all values, without outliers, or by least information lost.

Each method turns a histogram of one layer's inputs over the calibration images into the part of
[min, max] to keep, given as two fractions, one for each end.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

METHODS = ("minmax", "entropy", "percentile")
BINS = 2048
PERCENTILE = 99.999  # of the values, per end; what ONNX Runtime takes at export


class Histogram:
    """Counts of values over [low, high] in ``BINS`` equal bins."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.counts = np.zeros(BINS)

    def add(self, values: Tensor) -> None:
        if self.high > self.low:
            counts = torch.histc(values.detach().float().cpu(), BINS, self.low, self.high)
            self.counts += counts.numpy()


def keep(histogram: Histogram, method: str) -> tuple[float, float]:
    """(low, high) to quantise over, within the histogram's own and around 0.

    ``percentile`` cuts ``100 - PERCENTILE`` percent at each end; ``entropy`` takes the threshold on
    the absolute value that loses least information with 128 levels (Migacz, 8-bit inference with
    TensorRT, 2017). ``minmax`` keeps everything.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    total = histogram.counts.sum()
    if method == "minmax" or total == 0:
        return low, high
    edges = np.linspace(histogram.low, histogram.high, BINS + 1)
    if method == "percentile":
        below = np.cumsum(histogram.counts) / total
        tail = 1 - PERCENTILE / 100
        first = int(np.argmax(below > tail))
        last = int(np.argmax(below >= 1 - tail))
        return min(edges[first], 0.0), max(edges[last + 1], 0.0)
    if method == "entropy":
        bound = max(-low, high)
        centres = np.abs((edges[:-1] + edges[1:]) / 2)
        counts, _ = np.histogram(centres, bins=BINS, range=(0.0, bound), weights=histogram.counts)
        counts[0] = counts[1]  # ReLU's zeros cost nothing at any threshold and would drown the rest
        threshold = entropy_threshold(counts) * bound
        return max(low, -threshold), min(high, threshold)
    raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")


def entropy_threshold(counts: np.ndarray, levels: int = 128) -> float:
    """The fraction of the histogram to keep so that ``levels`` levels lose least information.

    Args:
        counts: of absolute values in equal bins from 0, at least ``levels`` of them.
    """
    best, best_loss = len(counts), np.inf
    for stop in range(levels, len(counts) + 1, 8):
        kept = counts[:stop]
        clipped = kept.astype(np.float64).copy()
        clipped[-1] += counts[stop:].sum()  # what lies beyond saturates at the threshold
        level = np.arange(stop) * levels // stop
        filled = kept > 0
        mass = np.bincount(level, kept, levels)
        width = np.bincount(level, filled, levels)
        coarse = np.where(filled, (mass / np.maximum(width, 1))[level], 0.0)
        if coarse.sum() == 0:
            continue
        p, q = clipped / clipped.sum(), coarse / coarse.sum()
        # A saturated last bin that no level covers costs as if its share were next to nothing.
        q = np.where((p > 0) & (q == 0), 1e-12, q)
        used = p > 0
        loss = float(np.sum(p[used] * np.log(p[used] / q[used])))
        if loss < best_loss:
            best, best_loss = stop, loss
    return best / len(counts)
