"""The currency between stages: a plain float module and what is needed to deploy it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compress.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """What stands between a uint8 image and the module.

    Attributes:
        size: side of the square input, pixels.
        mean, std: per RGB channel, in units of [0, 1] pixels.

    Raises:
        InputError: not three channels.
    """

    size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3:
                raise InputError(
                    f"Preprocess: {name} has {len(values)} of 3 values: models take 3 channels (RGB)"
                )

    def normalise(self, images: Tensor) -> Tensor:
        """N x 3 x H x W in 0..255 (uint8 or float) to a normalised float32 N x 3 x H x W."""
        import torch

        mean, std = (torch.tensor(v, device=images.device) * 255.0 for v in (self.mean, self.std))
        rows = images.permute(0, 2, 3, 1)
        if images.device.type == "cpu" and rows.is_contiguous():
            # Channels last: whole rows at once, as torch is ten times slower with three values at a time.
            flat = rows.flatten(2) if images.dtype == torch.uint8 else rows.flatten(2).float()
            out = (flat - mean.repeat(images.shape[3])).div_(std.repeat(images.shape[3]))
            return out.view(rows.shape).permute(0, 3, 1, 2)
        return (images.float() - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


@dataclass(frozen=True)
class Quant:
    """How int8 is made at export: static, per-channel weights, ranges from calibration images.

    Attributes:
        images: uint8 N x H x W x 3 at the net's input size.
        method: how activation ranges are taken from them (``minmax``, ``entropy``, ``percentile``).
        exclude: names of modules left in float.
    """

    images: np.ndarray
    method: str = "minmax"
    exclude: tuple[str, ...] = ()


@dataclass
class Net:
    """A float ``nn.Module`` (normalised N x 3 x H x W to N x C logits) with its preprocessing.

    ``quant`` set means: deploy as int8. The module stays float, so it can be copied, pickled,
    trained and counted; int8 is materialised by the runtime at export.
    """

    module: nn.Module
    preprocess: Preprocess
    labels: tuple[str, ...]
    quant: Quant | None = field(default=None)

    def copy(self) -> Net:
        """An independent copy: changing it leaves this one as it is."""
        return Net(copy.deepcopy(self.module), self.preprocess, self.labels, self.quant)

    def example(self, batch: int = 1) -> Tensor:
        """A float32 zero batch x 3 x size x size input of the module."""
        import torch

        return torch.zeros(batch, 3, self.preprocess.size, self.preprocess.size)
