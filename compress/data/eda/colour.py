"""Colour and brightness of a photo set, by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])
_DARK, _BRIGHT, _FLAT = 20.0, 245.0, 4.0  # grey levels


@dataclass(frozen=True)
class Colour:
    """Of the pixels of some photos.

    Attributes:
        mean, std: per RGB channel over all pixels, in [0, 1], as for normalisation.
        brightness: 10th, 50th and 90th percentile of the photos' mean grey, in [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    brightness: tuple[float, ...]


@dataclass(frozen=True)
class PixelStats:
    """Per photo, in grey levels 0 to 255: channel means and mean squares N x 3, mean grey N, its spread N."""

    mean: np.ndarray
    square: np.ndarray
    grey: np.ndarray
    spread: np.ndarray

    def of(self, rows: np.ndarray) -> Colour:
        """The photos at ``rows`` together (one or more)."""
        mean = self.mean[rows].mean(0)
        std = np.sqrt(np.maximum(self.square[rows].mean(0) - mean**2, 0))
        parts = np.percentile(self.grey[rows], [10, 50, 90])
        return Colour(*(tuple(float(v) / 255 for v in values) for values in (mean, std, parts)))

    def odd(self, row: int) -> str:
        """What is odd about the pixels of one photo, or ""."""
        if self.spread[row] < _FLAT:
            return "nearly one colour"
        if self.grey[row] < _DARK:
            return "nearly black"
        return "nearly white" if self.grey[row] > _BRIGHT else ""


def pixel_stats(images: np.ndarray) -> PixelStats:
    """Of uint8 N x H x W x 3."""
    parts = []
    for start in range(0, len(images), 256):
        x = images[start : start + 256].reshape(len(images[start : start + 256]), -1, 3).astype(np.float32)
        grey = x @ _LUMA.astype(np.float32)
        parts.append((x.mean(1), (x**2).mean(1), grey.mean(1), grey.std(1)))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return PixelStats(columns[0], columns[1], columns[2], columns[3])
