"""Image operations of AutoAugment and its heirs, one uint8 H x W x 3 image at a time, by OpenCV.

Torchvision's batched versions give the whole batch one draw; per image, OpenCV takes 0.01-0.1 ms at 128 px.
Each operation takes the image and a strength in [0, 1]; ``WIDE`` and ``STANDARD`` say what 1 means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FILL = (124, 116, 104)  # the ImageNet mean, which normalisation turns to about zero
_LEVELS = np.arange(256, dtype=np.float32)


@dataclass(frozen=True)
class Range:
    """What strength 1 does."""

    shear: float  # tangent
    shift: float  # of the side
    rotate: float  # degrees
    blend: float  # a factor of 1 +- this for brightness, colour, contrast, sharpness
    bits: int  # taken away by posterize
    solarize: int = 256  # how far from the top the threshold comes


# Cubuk et al. 2020 (arXiv 1909.13719), Mueller & Hutter 2021 (arXiv 2103.10158)
STANDARD = Range(shear=0.3, shift=0.45, rotate=30.0, blend=0.9, bits=4)
WIDE = Range(shear=0.99, shift=0.14, rotate=135.0, blend=0.99, bits=6)

Operation = Callable[[np.ndarray, float, float, Range], np.ndarray]


def affine(image: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    """``matrix`` 2 x 3: a map about the image's centre, then a shift in pixels; what comes in is filled."""
    import cv2

    height, width = image.shape[:2]
    m = np.asarray(matrix, dtype=np.float64)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    m[:, 2] += centre - m[:, :2] @ centre
    return cv2.warpAffine(
        image, m, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=FILL
    )


def shear_x(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return affine(image, [[1, sign * strength * most.shear, 0], [0, 1, 0]])


def shear_y(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return affine(image, [[1, 0, 0], [sign * strength * most.shear, 1, 0]])


def shift_x(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return affine(image, [[1, 0, sign * strength * most.shift * image.shape[1]], [0, 1, 0]])


def shift_y(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return affine(image, [[1, 0, 0], [0, 1, sign * strength * most.shift * image.shape[0]]])


def rotate(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    angle = np.deg2rad(sign * strength * most.rotate)
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return affine(image, [[c, -s, 0], [s, c, 0]])


def brightness(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return _lookup(image, _LEVELS * (1 + sign * strength * most.blend))


def contrast(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Blend with the image's own mean grey."""
    import cv2

    factor = 1 + sign * strength * most.blend
    grey = round(float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()))
    return _lookup(image, _LEVELS * factor + grey * (1 - factor))


def colour(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Blend with the image in grey."""
    import cv2

    factor = 1 + sign * strength * most.blend
    to_grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    return cv2.transform(image, factor * np.eye(3) + (1 - factor) * to_grey)


def sharpness(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Blend with the image smoothed by a 3 x 3 kernel."""
    import cv2

    factor = 1 + sign * strength * most.blend
    kernel = np.full((3, 3), (1 - factor) / 13)
    kernel[1, 1] = factor + 5 * (1 - factor) / 13
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def posterize(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Keep the highest bits of each level."""
    mask = 0xFF << round(strength * most.bits) & 0xFF
    return _lookup(image, np.arange(256) & mask)


def solarize(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Invert the levels from a threshold up."""
    threshold = 256 - round(strength * most.solarize)
    table = _LEVELS.copy()
    table[threshold:] = 255 - table[threshold:]
    return _lookup(image, table)


def autocontrast(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Stretch each channel to 0..255; strength has no meaning."""
    import cv2

    low, high = np.array([cv2.minMaxLoc(channel)[:2] for channel in cv2.split(image)]).T
    flat = high == low
    scale = np.where(flat, 1, 255 / np.where(flat, 1, high - low))
    return _lookup(image, (_LEVELS[:, None] - np.where(flat, 0, low)) * scale)


def equalize(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Flatten each channel's histogram; strength has no meaning."""
    import cv2

    return cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(image)])


def identity(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return image


OPERATIONS: tuple[Operation, ...] = (
    identity,
    shear_x,
    shear_y,
    shift_x,
    shift_y,
    rotate,
    brightness,
    colour,
    contrast,
    sharpness,
    posterize,
    solarize,
    autocontrast,
    equalize,
)


def _lookup(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each level replaced by ``table[level]`` (256, or 256 x 3 by channel), rounded and clipped."""
    import cv2

    levels = np.clip(np.round(table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, levels.reshape(1, 256, -1))
