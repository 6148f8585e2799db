"""Random changes of training images; every image of a batch draws its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from compress.data import pixels
from compress.data.window import crop_on_device, fit, fit_matrix, window
from compress.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

_LEVELS = 30.0  # the papers' scale of strengths
Draw = tuple[pixels.Operation, float, float]  # what, how strongly in [0, 1], in which direction
Box = tuple[int, int, int, int]  # top, left, height, width


class Augment(Spec, ABC):
    """A YAML node, and a function of a batch and a generator."""

    kind: str
    on_device: ClassVar[bool] = False  # whether it works where the batch lies; else on the CPU

    @abstractmethod
    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """uint8 N x 3 x H x W to the same shape, type and device; the same again for the same generator."""


class NoAugment(Augment):
    """The images as they are."""

    kind: Literal["none"] = "none"

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        return images


class Cropping(Augment):
    """What the kinds below share: mirror, crop and enlarge, operations of their own, blank a box."""

    _range: ClassVar[pixels.Range] = pixels.STANDARD
    flip: float = Field(0.5, ge=0, le=1, description="Probability of mirroring left and right.")
    min_area: float = Field(0.5, gt=0, le=1, description="Smallest part of the image's area to crop to.")
    max_ratio: float = Field(
        4 / 3, ge=1, le=4, description="Most the crop is wider than high, or the reverse."
    )
    pad: float = Field(
        0.0, ge=0, le=0.5, description="How far a crop may reach out, part of the side; mirrored."
    )
    erase: float = Field(0.0, ge=0, le=1, description="Probability of blanking a box (arXiv 1708.04896).")

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        count, _, height, width = images.shape
        boxes = self._boxes(rng, count, height, width)
        flips = rng.random(count) < self.flip
        draws = self._draws(rng, count)
        blanks = self._blanks(rng, count, height, width)
        if images.device.type != "cpu" and self.on_device:
            out = crop_on_device(images, boxes, flips)
            for i, (top, left, h, w) in blanks.items():
                out[i, :, top : top + h, left : left + w] = out.new_tensor(pixels.FILL).view(3, 1, 1)
            return out
        rows = as_rows(images)
        result = np.empty_like(rows)
        for i, image in enumerate(rows):
            result[i] = changed(window(image, boxes[i]), (width, height), flips[i], draws[i], self._range)
            blank(result[i], blanks.get(i), pixels.FILL)
        return as_batch(result, images)

    def _draws(self, rng: np.random.Generator, count: int) -> list[list[Draw]]:
        """The operations of every image."""
        return [[]] * count

    def _boxes(self, rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
        """int64 N x 4: top, left, height, width in pixels."""
        area = rng.uniform(self.min_area, 1.0, count)
        ratio = np.exp(rng.uniform(-1.0, 1.0, count) * np.log(self.max_ratio))
        size = np.stack([np.sqrt(area / ratio) * height, np.sqrt(area * ratio) * width], axis=1)
        size = np.clip(np.round(size), 1, [height, width])
        room = np.array([height, width]) * (1 + 2 * self.pad) - size
        corner = np.floor(rng.random((count, 2)) * (room + 1)) - np.round(
            np.array([height, width]) * self.pad
        )
        return np.concatenate([corner, size], axis=1).astype(np.int64)

    def _blanks(self, rng: np.random.Generator, count: int, height: int, width: int) -> dict[int, Box]:
        """Per erased image its box: 2-20 % of the area, up to 3.3 times as wide as high or the reverse."""
        blanks = {}
        for i in np.flatnonzero(rng.random(count) < self.erase).tolist():
            area, ratio = rng.uniform(0.02, 0.2), float(np.exp(rng.uniform(-1.2, 1.2)))
            h = min(height, max(1, round(height * float(np.sqrt(area / ratio)))))
            w = min(width, max(1, round(width * float(np.sqrt(area * ratio)))))
            blanks[i] = (int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
        return blanks


class FlipCrop(Cropping):
    """A random part of the image, enlarged to the whole size, mirrored half of the time."""

    kind: Literal["flip_crop"] = "flip_crop"
    on_device: ClassVar[bool] = True


class RandAugment(Cropping):
    """Flip, crop, then ``n`` operations drawn with replacement (Cubuk et al. 2020, arXiv 1909.13719).

    Strengths are drawn around ``magnitude``, a new one for every operation on every image.
    """

    kind: Literal["randaugment"] = "randaugment"
    n: int = Field(2, ge=1, le=10, description="Operations on each image.")
    magnitude: float = Field(9.0, ge=0, le=_LEVELS, description="Mean strength, 0 to 30.")
    spread: float = Field(1.5, ge=0, le=_LEVELS, description="Standard deviation of the strength.")

    def _draws(self, rng: np.random.Generator, count: int) -> list[list[Draw]]:
        levels = rng.normal(self.magnitude, self.spread, (count, self.n))
        return _assign(rng, np.clip(levels, 0, _LEVELS) / _LEVELS)


class TrivialAugment(Cropping):
    """Flip, crop, then one operation at a uniform strength (Mueller & Hutter 2021, arXiv 2103.10158)."""

    kind: Literal["trivial"] = "trivial"
    _range: ClassVar[pixels.Range] = pixels.WIDE

    def _draws(self, rng: np.random.Generator, count: int) -> list[list[Draw]]:
        return _assign(rng, rng.random((count, 1)))


class CompetitionAugment(Augment):
    """The trash competition's ``randaugment_train``: operations, then a mirror, then a box blanked (CutOut).

    Each image draws ``n_select`` different operations of the fourteen; the sign of a blend, shear or shift
    is random, a rotation always turns the same way (the mirror comes after it), and grey fills what comes
    in. Against the original, whose Pillow calls mix nearest-neighbour and bicubic sampling, everything is
    sampled bilinearly here. Its ``SquarePad`` is ``data.fit: pad``, done once when a photo is decoded.
    """

    kind: Literal["competition"] = "competition"
    n_select: int = Field(2, ge=0, le=14, description="Different operations on each image; 0: none.")
    level: int | None = Field(
        14, ge=0, description="Strength of all, 0 to n_level; null or 0: a new one for every operation."
    )
    n_level: int = Field(31, ge=1, description="The level of full strength.")
    flip: float = Field(0.5, ge=0, le=1, description="Probability of mirroring left and right.")
    cutout: float = Field(0.8, ge=0, le=1, description="Probability of blanking a square, cut at the edges.")
    cutout_side: float = Field(0.45, gt=0, le=1, description="Of the square, part of the image's side.")

    @model_validator(mode="after")
    def _level_in_range(self) -> CompetitionAugment:
        if self.level is not None and self.level > self.n_level:
            raise ValueError(f"level {self.level} is beyond n_level {self.n_level}")
        return self

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        count, _, height, width = images.shape
        draws = self._draws(rng, count)
        flips = rng.random(count) < self.flip
        blanks = self._blanks(rng, count, height, width)
        rows = as_rows(images)
        result = np.empty_like(rows)
        for i, image in enumerate(rows):
            image = changed(image, (width, height), False, draws[i], pixels.COMPETITION)
            result[i] = fit(image, (width, height), flips[i])
            blank(result[i], blanks[i], pixels.COMPETITION.fill)
        return as_batch(result, images)

    def _draws(self, rng: np.random.Generator, count: int) -> list[list[Draw]]:
        operations = pixels.COMPETITION_OPERATIONS
        which = rng.random((count, len(operations))).argsort(axis=1)[:, : self.n_select]  # none twice
        levels = np.full(which.shape, self.level or 0)
        if not self.level:
            levels = rng.integers(self.n_level + 1, size=which.shape)
        signs = rng.choice([-1.0, 1.0], size=which.shape)
        signs[which == operations.index(pixels.rotate)] = -1.0  # counterclockwise
        return _draw(operations, which, levels / self.n_level, signs)

    def _blanks(self, rng: np.random.Generator, count: int, height: int, width: int) -> list[Box | None]:
        """Squares about a point anywhere in the image."""
        chosen = (rng.random(count) < self.cutout).tolist()
        centres = rng.integers([height + 1, width + 1], size=(count, 2)).tolist()
        h, w = int(self.cutout_side * height) // 2, int(self.cutout_side * width) // 2
        boxes: list[Box | None] = []
        for (y, x), one in zip(centres, chosen, strict=True):
            top, left = max(0, y - h), max(0, x - w)
            bottom, right = min(height, y + h + 1), min(width, x + w + 1)
            boxes.append((top, left, bottom - top, right - left) if one else None)
        return boxes


AugmentSpec = Annotated[
    NoAugment | FlipCrop | RandAugment | TrivialAugment | CompetitionAugment, Field(discriminator="kind")
]


def changed(
    part: np.ndarray, size: tuple[int, int], flip: bool, draws: list[Draw], most: pixels.Range
) -> np.ndarray:
    """``part`` fitted to ``size`` (width, height), mirrored or not, then ``draws`` one after another.

    Moves that follow one another, the fitting included, are one warp: faster, and blurred only once.
    """
    fitted = False
    steps = (draw for draw in draws if draw[0] is not pixels.identity)
    for moving, some in groupby(steps, lambda draw: isinstance(draw[0], pixels.Move)):
        if moving:
            matrices = [] if fitted else [fit_matrix(part, size, flip)]
            for operation, strength, sign in some:
                assert isinstance(operation, pixels.Move)
                matrices.append(operation.matrix(*size, strength, sign, most))
            part = pixels.warp(part, reduce(pixels.then, matrices), size, most.fill)
        else:
            part = part if fitted else fit(part, size, flip)
            for operation, strength, sign in some:
                part = operation(part, strength, sign, most)
        fitted = True
    return part if fitted else fit(part, size, flip)


def as_rows(images: Tensor) -> np.ndarray:
    """N x 3 x H x W to N x H x W x 3; no copy where the batch lies so in memory."""
    return images.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def as_batch(rows: np.ndarray, like: Tensor) -> Tensor:
    """N x H x W x 3 to N x 3 x H x W (a view) on the device of ``like``."""
    import torch

    return torch.from_numpy(rows).permute(0, 3, 1, 2).to(like.device)


def blank(image: np.ndarray, box: Box | None, fill: tuple[int, int, int]) -> None:
    """Fill ``box`` in place."""
    if box is not None:
        top, left, h, w = box
        image[top : top + h, left : left + w] = fill


def _assign(rng: np.random.Generator, strengths: np.ndarray) -> list[list[Draw]]:
    which = rng.integers(len(pixels.OPERATIONS), size=strengths.shape)
    return _draw(pixels.OPERATIONS, which, strengths, rng.choice([-1.0, 1.0], size=strengths.shape))


def _draw(
    operations: tuple[pixels.Operation, ...], which: np.ndarray, strengths: np.ndarray, signs: np.ndarray
) -> list[list[Draw]]:
    """Per image its operations, from three N x n arrays."""
    rows = zip(which.tolist(), strengths.tolist(), signs.tolist(), strict=True)
    return [[(operations[w], m, s) for w, m, s in zip(*row, strict=True)] for row in rows]
