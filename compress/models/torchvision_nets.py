"""torchvision's classifiers by name, with any number of classes at any size they can take."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError, InputError
from compress.models.arguments import nearest

if TYPE_CHECKING:
    from torch import nn

    from compress.net import Preprocess

# the training-only second outputs would come as a tuple
_ARGS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def problems(name: str, weights: str | None) -> list[str]:
    """One line if torchvision has no such classifier or no such weights of it."""
    from compress.models.torchvision_names import classifiers

    names = classifiers()
    if not names:
        return ["torchvision is not installed: pip install torchvision"]
    if name not in names:
        return [
            f"torchvision has no classifier {name!r}{nearest(name, names) or '; it has ' + ', '.join(names)}"
        ]
    if weights is not None and weights not in (*names[name], "DEFAULT"):
        return [f"torchvision's {name} has no weights {weights!r}; it has DEFAULT, {', '.join(names[name])}"]
    return []


def torchvision_net(
    name: str, weights: str | None, num_classes: int, size: int
) -> tuple[nn.Module, Preprocess]:
    """The net, and how its images are to be normalised.

    The batch norms' momentum is set to 0.1: at MobileNetV3's own 0.01 the running statistics of a
    short training lag far behind, and its F1 looks far worse than the weights are.

    Raises:
        InputError: an unknown name or weights, or a size the net cannot take.
        CompressError: the weights cannot be downloaded.
    """
    import torch
    from torchvision import models

    from compress.net import IMAGENET_MEAN, IMAGENET_STD, Preprocess

    if found := problems(name, weights):
        raise InputError(found)
    args = {"num_classes": num_classes, **_ARGS.get(name, {})}
    if name.startswith("vit_"):
        args["image_size"] = size
    if name.startswith("maxvit"):
        args["input_size"] = (size, size)
    try:
        net: Any = models.get_model(name, weights=None, **args)
    except ValueError as error:
        raise InputError(f"torchvision's {name} cannot take {size} px: {error}") from None
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if weights is not None:
        transforms = models.get_model_weights(name)[weights].transforms()
        mean, std = tuple(transforms.mean), tuple(transforms.std)
        _load_weights(net, name, weights, num_classes)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1
    net.eval()
    try_size(net, f"torchvision's {name}", num_classes, size)
    return net, Preprocess(size, mean, std)


def try_size(net: nn.Module, what: str, num_classes: int, size: int) -> None:
    """Raise InputError if ``net`` (eval mode) does not turn one ``size`` px image into logits."""
    import torch

    try:
        with torch.no_grad():
            out = net(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{what} cannot take {size} px images: {line}") from None
    if not isinstance(out, torch.Tensor) or out.shape != (1, num_classes):
        found = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise InputError(f"{what} gives {found} for one {size} px image, expected [1, {num_classes}]")


def _load_weights(net: Any, name: str, weights: str, num_classes: int) -> None:
    """Fill ``net`` with published weights; only a last layer of another width keeps its start."""
    from torchvision import models

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # googlenet's, on the initialisation that is overwritten
            full = models.get_model(name, weights=weights, progress=False)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
        raise CompressError(
            f"torchvision's {name} weights {weights} cannot be had: {error}; leave out weights to start "
            "from scratch, or put the file in torch's hub folder (TORCH_HOME)"
        ) from error
    own, given = net.state_dict(), full.state_dict()
    left = [k for k in own if given[k].shape != own[k].shape]
    if body := [k for k in left if own[k].shape[0] != num_classes]:
        raise InputError(f"torchvision's {name} weights {weights} do not fit this size: {body[0]} differs")
    net.load_state_dict({k: own[k] if k in left else given[k] for k in own})
    if hasattr(full, "transform_input"):  # the inceptions were trained on other means
        net.transform_input = full.transform_input
