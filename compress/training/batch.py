"""From a batch of uint8 images to what a module takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from compress.net import Preprocess


def inputs(images: Tensor, preprocess: Preprocess, channels_last: bool = False) -> Tensor:
    """N x 3 x H x W in 0..255 to a normalised float32 N x 3 x size x size.

    Images of another size are resized (bilinear, antialiased), so one set serves nets of several sizes.
    """
    import torch
    from torch.nn.functional import interpolate

    size = (preprocess.size, preprocess.size)
    if tuple(images.shape[-2:]) != size:
        images = interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)
    x = preprocess.normalise(images)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return x.contiguous(memory_format=layout)


def mixup(images: Tensor, soft: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each image blended with another of the batch, targets likewise; the share is Beta(alpha, alpha).

    Images N x 3 x H x W (any dtype, to float32), soft targets N x C. "mixup", Zhang et al. 2018.
    """
    import torch

    share = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    images = images.float()
    return images.lerp(images[other], 1 - share), soft.lerp(soft[other], 1 - share)
