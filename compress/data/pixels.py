"""Image operations of AutoAugment and its heirs, one uint8 H x W x 3 image at a time, by OpenCV.

Torchvision's batched versions give the whole batch one draw; per image, OpenCV takes 0.01-0.1 ms at 128 px.
Each operation takes the image, a strength in [0, 1], a sign and a ``Range`` that says what strength 1 means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FILL = (124, 116, 104)  # the ImageNet mean, which normalisation turns to about zero
_LEVELS = np.arange(256, dtype=np.float32)


@dataclass(frozen=True)
class Range:
    """What strength 1 does."""

    shear: float  # tangent
    shift: float  # of the side, rounded to whole pixels
    rotate: float  # degrees
    blend: float  # a factor of 1 +- this for brightness, colour, contrast, sharpness
    bits: int  # taken away by posterize
    solarize: int = 256  # how far from the top the threshold comes
    fill: tuple[int, int, int] = FILL  # what comes in from outside
    pivot: float = 0.5  # where a shear leaves the image in place, part of the side


# Cubuk et al. 2020 (arXiv 1909.13719), Mueller & Hutter 2021 (arXiv 2103.10158)
STANDARD = Range(shear=0.3, shift=0.45, rotate=30.0, blend=0.9, bits=4)
WIDE = Range(shear=0.99, shift=0.14, rotate=135.0, blend=0.99, bits=6)
# the trash competition's: AutoAugment's values, with grey for what comes in and shears that hold the corner
COMPETITION = Range(
    shear=0.3, shift=150 / 331, rotate=30.0, blend=0.9, bits=4, fill=(128, 128, 128), pivot=0.0
)

Operation = Callable[[np.ndarray, float, float, Range], np.ndarray]
Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): pixel (x, y) of the result is the image at (a x + b y + c, d x + e y + f)."""


@dataclass(frozen=True)
class Move:
    """An operation that only moves pixels, so that two of them in a row are one: see ``then``.

    Attributes:
        matrix: of (width, height, strength, sign, range).
    """

    name: str
    matrix: Callable[[int, int, float, float, Range], Matrix]

    def __call__(self, image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
        height, width = image.shape[:2]
        return warp(image, self.matrix(width, height, strength, sign, most), (width, height), most.fill)


def warp(
    image: np.ndarray, matrix: Matrix, size: tuple[int, int], fill: tuple[int, int, int] = FILL
) -> np.ndarray:
    """``image`` seen through ``matrix``, bilinear, at ``size`` (width, height)."""
    import cv2

    return cv2.warpAffine(
        image,
        np.array(matrix, dtype=np.float64).reshape(2, 3),
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,
    )


def then(first: Matrix, second: Matrix) -> Matrix:
    """The one matrix that does ``first``, and ``second`` to its result."""
    a, b, c, d, e, f = first
    g, h, i, j, k, m = second
    return (
        a * g + b * j,
        a * h + b * k,
        a * i + b * m + c,
        d * g + e * j,
        d * h + e * k,
        d * i + e * m + f,
    )


def _about(x: float, y: float, a: float, b: float, d: float, e: float) -> Matrix:
    """A linear map that leaves the point (x, y) where it is."""
    return (a, b, x - a * x - b * y, d, e, y - d * x - e * y)


def _shear_x(width: int, height: int, strength: float, sign: float, most: Range) -> Matrix:
    return _about(0, most.pivot * height - 0.5, 1, -sign * strength * most.shear, 0, 1)


def _shear_y(width: int, height: int, strength: float, sign: float, most: Range) -> Matrix:
    return _about(most.pivot * width - 0.5, 0, 1, 0, -sign * strength * most.shear, 1)


def _rotate(width: int, height: int, strength: float, sign: float, most: Range) -> Matrix:
    angle = math.radians(sign * strength * most.rotate)  # clockwise, as the y axis points down
    c, s = math.cos(angle), math.sin(angle)
    return _about((width - 1) / 2, (height - 1) / 2, c, s, -s, c)


shear_x, shear_y = Move("shear_x", _shear_x), Move("shear_y", _shear_y)
rotate = Move("rotate", _rotate)


def shift_x(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return _shift(image, 0, round(sign * strength * most.shift * image.shape[1]), most.fill)


def shift_y(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return _shift(image, round(sign * strength * most.shift * image.shape[0]), 0, most.fill)


def _shift(image: np.ndarray, down: int, right: int, fill: tuple[int, int, int]) -> np.ndarray:
    """Whole pixels, so a copy does it."""
    import cv2

    height, width = image.shape[:2]
    kept = image[max(0, -down) : max(0, height - down), max(0, -right) : max(0, width - right)]
    border = (max(0, down), max(0, -down), max(0, right), max(0, -right))
    return cv2.copyMakeBorder(kept, *border, borderType=cv2.BORDER_CONSTANT, value=fill)


def brightness(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    return _linear(image, 1 + sign * strength * most.blend, 0)


def contrast(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Blend with the image's own mean grey."""
    import cv2

    factor = 1 + sign * strength * most.blend
    grey = math.floor(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return _linear(image, factor, grey * (1 - factor))


def _linear(image: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """Each level times ``factor`` plus ``offset``, rounded and clipped."""
    import cv2

    return cv2.addWeighted(image, factor, image, 0, offset)


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
    return _posterize(image, round(strength * most.bits))


def posterize_up(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """The same, but a part of a bit is a bit taken."""
    return _posterize(image, math.ceil(strength * most.bits))


def _posterize(image: np.ndarray, taken: int) -> np.ndarray:
    kept: np.ndarray = image & np.uint8(0xFF << taken & 0xFF)
    return kept


def solarize(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Invert the levels from a threshold up."""
    threshold = math.ceil(256 - strength * most.solarize)
    table = _LEVELS.copy()
    table[threshold:] = 255 - table[threshold:]
    return _lookup(image, table)


def autocontrast(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Stretch each channel to 0..255; strength has no meaning."""
    import cv2

    low, high = image.min(0).min(0).tolist(), image.max(0).max(0).tolist()  # by rows first: ten times faster
    stretch = np.zeros((3, 4))
    for channel, (dark, bright) in enumerate(zip(low, high, strict=True)):
        factor = 255 / (bright - dark) if bright > dark else 1.0
        stretch[channel, [channel, 3]] = factor, -dark * factor if bright > dark else 0.0
    return cv2.transform(image, stretch)


def equalize(image: np.ndarray, strength: float, sign: float, most: Range) -> np.ndarray:
    """Flatten each channel's histogram, as Pillow does it; strength has no meaning."""
    import cv2

    counts = np.array([cv2.calcHist([image], [c], None, [256], [0, 256]).ravel() for c in range(3)], np.int32)
    below = counts.cumsum(axis=1, dtype=np.int32) - counts
    last = 255 - (counts[:, ::-1] > 0).argmax(axis=1)
    step = below[range(3), last, None] // 255
    table = np.where(step, (below + step // 2) // np.maximum(step, 1), _LEVELS.astype(np.int32))
    return cv2.LUT(image, np.minimum(table, 255).astype(np.uint8).T.reshape(1, 256, 3))


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
COMPETITION_OPERATIONS: tuple[Operation, ...] = tuple(
    posterize_up if operation is posterize else operation for operation in OPERATIONS
)


def _lookup(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each level replaced by ``table[level]`` (256, or 256 x 3 by channel), rounded and clipped."""
    import cv2

    levels = np.clip(np.round(table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, levels.reshape(1, 256, -1))
