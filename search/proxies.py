"""Scores of an untrained net, to rank candidates before any is trained; higher is better.

Each is a function of a float module and a few of its inputs. They leave the module, and the global random
state, as they were. None knows what a net costs: compare nets of about equal cost, or use the proxy as one
objective beside the time.
"""

from __future__ import annotations

import copy
import math
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

_TINY = 1e-30  # keeps a log finite


def synflow(module: nn.Module, images: Tensor) -> float:
    """Log of the synaptic flow: the sum over all weights w of convolutions and linear layers of |w dR/dw|,
    where R sums the outputs for an image of ones and every parameter stands for its absolute value
    (Tanaka et al. 2020, arXiv 2006.05467).

    Without biases, R is the sum over all paths of the product of their weights. For that, activations that
    pass large positive numbers on are left out (ReLU6 would stop the flow at 6); the gates of squeeze and
    excite stay, and are near 1. Batch norms have mean 0 and variance 1, as before training.

    Args:
        images: N x C x H x W; only C, H and W count.

    Returns:
        -inf for a net that no path crosses.
    """
    import torch
    from torch import nn

    copied = copy.deepcopy(module).double().eval()  # sums of products over many layers outgrow float32
    for child in list(copied.modules()):
        for name, grandchild in child.named_children():
            if isinstance(grandchild, _rectifiers()):
                setattr(child, name, nn.Identity())
        if isinstance(child, nn.BatchNorm2d):
            child.reset_running_stats()
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.abs_()
    weights = [m.weight.requires_grad_() for m in copied.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.enable_grad():
        flow = copied(torch.ones(1, *images.shape[1:], dtype=torch.float64)).sum()
        grads = torch.autograd.grad(flow, weights)
    total = sum(float((w.detach() * g).sum()) for w, g in zip(weights, grads, strict=True))
    return math.log(total) if total > 0 else -math.inf


def naswot(module: nn.Module, images: Tensor) -> float:
    """Log determinant of the kernel of agreeing activations: entry i, j counts the units that are on for both
    images or off for both (Mellor et al. 2021, arXiv 2006.04647). High: the net tells the images apart.

    A unit is on where the input of its activation is above 0. Batch norms use the statistics of ``images``.

    Args:
        images: N x C x H x W, at least 2, normalised.

    Returns:
        -inf where two images switch all units alike, or where nothing rectifies.
    """
    import numpy as np
    import torch

    copied = _train_mode(module)
    kernel = np.zeros((len(images), len(images)))

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        on = (inputs[0].flatten(1) > 0).float()
        both = (on @ on.T).double().numpy()
        each = both.diagonal()
        kernel[:] += on.shape[1] - each[:, None] - each[None, :] + 2 * both

    with torch.no_grad(), ExitStack() as hooks:
        for child in copied.modules():
            if isinstance(child, _rectifiers()):
                hooks.enter_context(child.register_forward_pre_hook(count))
        copied(images)
    sign, log = np.linalg.slogdet(kernel)
    return float(log) if sign > 0 else -math.inf


def zen(module: nn.Module, images: Tensor, *, repeats: int = 4, alpha: float = 0.01, seed: int = 0) -> float:
    """Zen-score: log of how far the features before the last pool move with a small change of the input, plus
    the log of what the batch norms divided by (Lin et al. 2021, arXiv 2102.01063). High: an expressive net.

    Weights and images are drawn from N(0, 1). As the paper's definition is of plain convolutions, the
    shortcuts of our blocks are cut and their squeeze and excite passes its input on. A Fire has no batch
    norm: it gets one, which changes nothing but that numbers stay finite.

    Args:
        images: N x C x H x W, at least 2; only the shape counts.
        repeats: draws of weights and images, of which the mean is given.
        alpha: size of the change.
    """
    import torch
    from torch import nn

    copied = _plain(_train_mode(module))
    rng = torch.Generator().manual_seed(seed)
    logs: list[float] = []
    ends: list[tuple[Tensor, float]] = []

    def end(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        ends.append((inputs[0], sum(logs)))

    def divided(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance = inputs[0].double().var(dim=(0, 2, 3), unbiased=False)
        logs.append(0.5 * math.log(float(variance.mean()) + _TINY))

    def last(batch: Tensor) -> tuple[Tensor, float]:
        """The features before the last pool, or the output without one; logs of the batch norms before."""
        logs.clear()
        ends.clear()
        output = copied(batch)
        return ends[-1] if ends else (output, sum(logs))

    scores = []
    with torch.no_grad(), ExitStack() as hooks:
        for child in copied.modules():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                hooks.enter_context(child.register_forward_pre_hook(end))
            elif isinstance(child, nn.BatchNorm2d):
                hooks.enter_context(child.register_forward_pre_hook(divided))
        for _ in range(repeats):
            _draw_weights(copied, rng)
            image = torch.randn(images.shape, generator=rng)
            moved = image + alpha * torch.randn(images.shape, generator=rng)
            there, _ = last(moved)
            here, scale = last(image)
            change = (there - here).double().flatten(1).norm(dim=1).mean()
            scores.append(math.log(float(change) + _TINY) + scale)
    return sum(scores) / len(scores)


def _rectifiers() -> tuple[type[nn.Module], ...]:
    """Activations that are near 0 below 0 and grow without bound above, or are cut at a bound."""
    from torch import nn

    return (
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU),
        *(nn.Hardswish, nn.SiLU, nn.GELU, nn.Mish, nn.Softplus),
    )


def _train_mode(module: nn.Module) -> nn.Module:
    """A copy with batch norms that use the batch's statistics, and nothing random."""
    from torch import nn

    copied = copy.deepcopy(module).train()
    for child in copied.modules():
        if isinstance(child, (nn.modules.dropout._DropoutNd, nn.RReLU)):
            child.eval()
    return copied


def _plain(module: nn.Module) -> nn.Module:
    """``module`` without shortcuts and squeeze and excite, and a batch norm behind each Fire; in place."""
    from torch import nn

    from compress.models.blocks import Fire, Residual, SqueezeExcite

    for parent in list(module.modules()):
        if isinstance(parent, Residual):
            parent.shortcut = False
        for name, child in parent.named_children():
            if isinstance(child, SqueezeExcite):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, Fire):
                channels = child.expand1x1.out_channels + child.expand3x3.out_channels
                setattr(parent, name, nn.Sequential(child, nn.BatchNorm2d(channels)))
    return module


def _draw_weights(module: nn.Module, rng: Generator) -> None:
    """Convolutions and linear layers from N(0, 1), biases 0; batch norms that scale and shift nothing."""
    from torch import nn

    for child in module.modules():
        if isinstance(child, (nn.Conv2d, nn.Linear)):
            child.weight.normal_(generator=rng)
            if child.bias is not None:
                child.bias.zero_()
        elif isinstance(child, nn.BatchNorm2d):
            child.reset_parameters()
