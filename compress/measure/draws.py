"""Bootstrap samples of the images of a split, shared by all models that are looked at on them.

The bootstrap is stratified: each class keeps its number of images (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 8). Where images come in groups, of one object or one photo, groups are drawn
whole, as what is right for one of them is mostly right for the others: images drawn one by one would show
less noise than other objects bring (Field and Welsh, Bootstrapping clustered data, 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """Bootstrap samples of the images of one split.

    Attributes:
        targets: int N.
        counts: float32 samples x N: how often a sample holds an image.
    """

    targets: np.ndarray
    counts: NDArray[np.float32]

    @classmethod
    def of(
        cls, targets: np.ndarray, groups: np.ndarray | None = None, samples: int = 2000, seed: int = 0
    ) -> Draws:
        """Equal arguments give equal samples.

        Args:
            targets: int N.
            groups: int N or None; images of one number are drawn together. Each class keeps its number of
                groups, one of several classes counting for that of most of its images. None: each by itself.
        """
        member = np.arange(len(targets)) if groups is None else np.unique(groups, return_inverse=True)[1]
        strata = _largest_class(member, targets)
        rng = np.random.default_rng(seed)
        drawn = np.zeros((samples, len(strata)), np.float32)
        for stratum in np.unique(strata):
            where = np.flatnonzero(strata == stratum)
            picked = (
                rng.integers(0, len(where), (samples, len(where))) + len(where) * np.arange(samples)[:, None]
            )
            flat = np.bincount(picked.ravel(), minlength=samples * len(where))
            drawn[:, where] = flat.reshape(samples, len(where))
        return cls(targets, drawn if groups is None else drawn[:, member])

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
        size = (self.counts @ (said + true)).astype(np.float64)
        f1: Floats = (2 * hits / np.maximum(size, 1)).sum(axis=1) / np.maximum((size > 0).sum(axis=1), 1)
        return f1


def _largest_class(member: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of each group the class of most of its images."""
    held = np.zeros((int(member.max()) + 1, int(targets.max()) + 1), np.int64)
    np.add.at(held, (member, targets), 1)
    largest: np.ndarray = held.argmax(axis=1)
    return largest
