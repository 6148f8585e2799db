"""From a batch of uint8 images to what a module takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from torch import Tensor

    from compress.data.images import ImageSet
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


def mixed_batches(data: ImageSet, preprocess: Preprocess, size: int = 128) -> Iterator[Tensor]:
    """All of ``data`` as inputs, in equal batches of at most ``size`` with a share of every class in each.

    For the statistics of batch norms: images lie class by class, and batches in that order would each be
    normalised by a few classes alone, as the net never is when it predicts.
    """
    import numpy as np
    import torch

    by_class = np.argsort(data.targets, kind="stable")
    count = -(-len(data) // size)
    for i in range(count):
        images = torch.from_numpy(data.images[np.sort(by_class[i::count])])
        yield inputs(images.permute(0, 3, 1, 2), preprocess)


def mix(
    images: Tensor,
    soft: Tensor,
    rng: np.random.Generator,
    mixup_alpha: float,
    cutmix_alpha: float,
    part: float,
) -> tuple[Tensor, Tensor]:
    """What a batch goes through: ``mixup`` or ``cutmix``, whichever is on (alpha above 0).

    ``part`` of the batches are changed at all; where both are on, each is drawn for half of those.
    """
    if not (mixup_alpha or cutmix_alpha) or (part < 1 and rng.random() >= part):
        return images, soft
    both = mixup_alpha and cutmix_alpha
    by_boxes = rng.random() < 0.5 if both else cutmix_alpha > 0
    return cutmix(images, soft, cutmix_alpha, rng) if by_boxes else mixup(images, soft, mixup_alpha, rng)


def mixup(images: Tensor, soft: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each image blended with another of the batch, targets likewise; the share is Beta(alpha, alpha).

    Images N x 3 x H x W (any dtype, to float32), soft targets N x C. "mixup", Zhang et al. 2018.
    """
    import torch

    share = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    images = images.float()
    return images.lerp(images[other], 1 - share), soft.lerp(soft[other], 1 - share)


def cutmix(images: Tensor, soft: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A box of each image replaced by the same box of another of the batch.

    The share to keep is Beta(alpha, alpha), the box's centre lies anywhere, so edges may cut it; targets are
    mixed by the area that was really pasted. Every image draws its own share, box and partner.

    Images N x 3 x H x W (any dtype, kept), soft targets N x C. "CutMix", Yun et al. 2019.
    """
    import numpy as np
    import torch

    count, _, height, width = images.shape
    half = np.sqrt(1 - rng.beta(alpha, alpha, count))[:, None] * [height, width] / 2
    centre = rng.integers([height, width], size=(count, 2)) + 0.5
    low = np.clip(np.round(centre - half), 0, [height, width]).astype(np.int64)
    high = np.clip(np.round(centre + half), 0, [height, width]).astype(np.int64)
    other = rng.permutation(count)
    out = images.clone()
    for i, ((top, left), (bottom, right)) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        out[i, :, top:bottom, left:right] = images[other[i], :, top:bottom, left:right]
    pasted = torch.from_numpy((high - low).prod(1) / (height * width)).to(soft)[:, None]
    return out, soft.lerp(soft[torch.from_numpy(other).to(soft.device)], pasted)
