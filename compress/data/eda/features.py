"""Features of photos that need no trained net: where edges run, which colours there are, where."""

from __future__ import annotations

import numpy as np

NAME = "edge directions, colours and an 8 x 8 thumbnail"
_SIDE, _CELLS, _ANGLES = 64, 8, 9


def simple_features(images: np.ndarray) -> np.ndarray:
    """uint8 N x H x W x 3 to float32 N x 896.

    Square roots of shares: of edge strength over 9 directions in 8 x 8 cells (Dalal & Triggs 2005, without
    their blocks) and of pixels over 8 x 4 x 4 hues, saturations and values; then an 8 x 8 thumbnail. The
    three parts are scaled to the same spread over the images given.
    """
    parts = [np.stack(part) for part in zip(*(_one(image) for image in images), strict=True)]
    scaled = [part / max(1e-6, float(part.std(0).mean())) for part in parts]
    return np.concatenate(scaled, axis=1).astype(np.float32)


def _one(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import cv2

    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    strength, angle = cv2.cartToPolar(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1), angleInDegrees=True
    )
    at = np.arange(_SIDE) * _CELLS // _SIDE
    cell = at[:, None] * _CELLS + at[None]
    direction = np.minimum((angle % 180) * _ANGLES / 180, _ANGLES - 1).astype(np.int64)
    edges = np.bincount(
        (cell * _ANGLES + direction).ravel(), weights=strength.ravel(), minlength=_CELLS**2 * _ANGLES
    )
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    colours = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
    thumb = cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).ravel() / 255
    shares = [np.sqrt(part / max(1e-6, part.sum())) for part in (edges, colours)]
    return shares[0], shares[1], thumb
