"""Crops: a part of an image at the size of the whole, mirrored or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compress.data.pixels import Matrix

if TYPE_CHECKING:
    from torch import Tensor


def window(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The pixels of ``box`` (top, left, height, width); beyond the edges the image is mirrored."""
    import cv2

    height, width = image.shape[:2]
    top, left, h, w = box.tolist()
    out = (max(0, -top), max(0, top + h - height), max(0, -left), max(0, left + w - width))
    if any(out):
        image = cv2.copyMakeBorder(image, *out, borderType=cv2.BORDER_REFLECT)
        top, left = top + out[0], left + out[2]
    return image[top : top + h, left : left + w]


def fit(part: np.ndarray, size: tuple[int, int], flip: bool) -> np.ndarray:
    """``part`` stretched to ``size`` (width, height), mirrored left and right if ``flip``."""
    import cv2

    if part.shape[1::-1] != size:
        part = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
    return cv2.flip(part, 1) if flip else part


def fit_matrix(part: np.ndarray, size: tuple[int, int], flip: bool) -> Matrix:
    """What ``fit`` does, for ``pixels.warp``."""
    x, y = part.shape[1] / size[0], part.shape[0] / size[1]
    if flip:
        return (-x, 0, part.shape[1] - 0.5 * x - 0.5, 0, y, 0.5 * y - 0.5)
    return (x, 0, 0.5 * x - 0.5, 0, y, 0.5 * y - 0.5)


def crop_on_device(images: Tensor, boxes: np.ndarray, flips: np.ndarray) -> Tensor:
    """``fit`` of the ``window`` of a whole uint8 N x 3 x H x W batch where it lies, by one sampling."""
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
