"""Random changes of training images; every image of a batch draws its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from compress.data import pixels
from compress.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

_LEVELS = 30.0  # the papers' scale of strengths
Draw = tuple[pixels.Operation, float, float]  # what, how strongly in [0, 1], in which direction


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
        import torch

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
        rows = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        result = np.empty_like(rows)
        for i, image in enumerate(rows):
            image = crop(image, boxes[i], bool(flips[i]))
            for operation, strength, sign in draws[i]:
                image = operation(image, strength, sign, self._range)
            result[i] = image
            if i in blanks:
                top, left, h, w = blanks[i]
                result[i, top : top + h, left : left + w] = pixels.FILL
        return torch.from_numpy(result).permute(0, 3, 1, 2).to(images.device)

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

    def _blanks(
        self, rng: np.random.Generator, count: int, height: int, width: int
    ) -> dict[int, tuple[int, int, int, int]]:
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


AugmentSpec = Annotated[NoAugment | FlipCrop | RandAugment | TrivialAugment, Field(discriminator="kind")]


def _assign(rng: np.random.Generator, strengths: np.ndarray) -> list[list[Draw]]:
    which = rng.integers(len(pixels.OPERATIONS), size=strengths.shape).tolist()
    signs = rng.choice([-1.0, 1.0], size=strengths.shape).tolist()
    return [
        [(pixels.OPERATIONS[w], m, s) for w, m, s in zip(*row, strict=True)]
        for row in zip(which, strengths.tolist(), signs, strict=True)
    ]


def crop(image: np.ndarray, box: np.ndarray, flip: bool) -> np.ndarray:
    """The ``box`` (top, left, height, width; beyond the edges the image is mirrored) at the image's size."""
    import cv2

    height, width = image.shape[:2]
    top, left, h, w = box.tolist()
    out = (max(0, -top), max(0, top + h - height), max(0, -left), max(0, left + w - width))
    if any(out):
        image = cv2.copyMakeBorder(image, *out, borderType=cv2.BORDER_REFLECT)
        top, left = top + out[0], left + out[2]
    image = image[top : top + h, left : left + w]
    if (h, w) != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image[:, ::-1] if flip else image


def crop_on_device(images: Tensor, boxes: np.ndarray, flips: np.ndarray) -> Tensor:
    """``crop`` of a whole uint8 N x 3 x H x W batch where it lies, by one bilinear sampling."""
    import torch
    from torch.nn import functional

    height, width = images.shape[2:]
    top, left, h, w = (boxes[:, i].astype(np.float64) for i in range(4))
    theta = np.zeros((len(boxes), 2, 3), dtype=np.float32)
    theta[:, 0, 0] = np.where(flips, -1, 1) * w / width
    theta[:, 0, 2] = (2 * left + w) / width - 1
    theta[:, 1, 1] = h / height
    theta[:, 1, 2] = (2 * top + h) / height - 1
    grid = functional.affine_grid(
        torch.from_numpy(theta).to(images.device), list(images.shape), align_corners=False
    )
    sampled = functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return sampled.round_().clamp_(0, 255).to(torch.uint8)
