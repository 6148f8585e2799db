"""Images in memory: the form in which every split reaches training and measuring."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ImageSet:
    """Decoded images of one split.

    Attributes:
        images: uint8 N x H x W x 3 (RGB), in memory or memory-mapped.
        targets: int64 N, class indices.
        labels: class names; ``targets`` index into it.
        names: N file names (or made-up ones), for logs and reports.
        groups: int64 N or None; near-duplicate shots share a number.
    """

    images: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]
    names: tuple[str, ...] = ()
    groups: np.ndarray | None = field(default=None)

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: np.ndarray) -> ImageSet:
        """The images at ``index`` (int64), in that order."""
        names = tuple(self.names[i] for i in index) if self.names else ()
        groups = None if self.groups is None else self.groups[index]
        return ImageSet(self.images[index], self.targets[index], self.labels, names, groups)


@dataclass(frozen=True)
class Splits:
    """What a data kind gives: stages see train and tune, gates decide on val, test decides nothing.

    ``fingerprint`` covers the content of all four, and how files became pixels; it enters the store's keys;
    ``notes`` are lines for the log and the report (skipped files, empty classes).
    """

    train: ImageSet
    tune: ImageSet
    val: ImageSet
    test: ImageSet
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.train.labels
