"""Batch-norm statistics taken anew, after the layers before them changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class _Moments:
    """Count, mean and sum of squared deviations per channel, merged batch by batch (Chan et al. 1979)."""

    count: float = 0.0
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, x: Tensor) -> None:
        dims = [d for d in range(x.ndim) if d != 1]
        count = x.numel() / x.shape[1]
        var, mean = torch.var_mean(x.detach().float(), dims, correction=0)
        var, mean = var.double(), mean.double()
        total = self.count + count
        delta = mean - self.mean
        self.mean = self.mean + delta * (count / total)
        self.squares = self.squares + var * count + delta**2 * (self.count * count / total)
        self.count = total


def reestimate(module: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set the running statistics of every batch norm to the true mean and variance over ``batches``.

    Not the moving average of training, whose window is short and whose weights have moved on, but one
    average in which every value counts the same (as "precise BN" in Wu and Johnson 2021, "Rethinking
    'Batch' in BatchNorm"). While it runs, batch norms normalise by their batch, as in training, and
    everything else is in eval mode; modes and momenta are as before afterwards. Where a batch has one value
    a channel (one image, 1 x 1 maps) the running statistics normalise it.

    Args:
        module: changed in place: ``running_mean`` and ``running_var`` only.
        batches: normalised float N x 3 x H x W inputs; larger batches are more exact.

    Returns:
        How many batch norms were re-estimated; 0 when there are none or ``batches`` is empty.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    moments: dict[nn.Module, _Moments] = {norm: _Moments() for norm in norms}
    modes = [(m, m.training) for m in module.modules()]
    momenta = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))

    def see(norm: nn.Module, args: tuple[Any, ...]) -> None:
        moments[norm].add(args[0])
        norm.train(args[0].numel() > args[0].shape[1])  # one value a channel has no variance

    hooks = [norm.register_forward_pre_hook(see) for norm in norms]
    try:
        module.eval()
        for norm in norms:
            norm.train()
            norm.momentum, norm.num_batches_tracked = 0.0, None  # the running statistics stay
        with torch.no_grad():
            for i, batch in enumerate(batches):
                if i == 0 or len(batch) > 1:  # one image alone is a poor batch
                    module(batch.to(device))
    finally:
        for hook in hooks:
            hook.remove()
        for m, training in modes:
            m.training = training
        for norm, momentum, tracked in momenta:
            norm.momentum, norm.num_batches_tracked = momentum, tracked
    seen = [norm for norm in norms if moments[norm].count > 1]
    for norm in seen:
        found, own = moments[norm], dict(norm.named_buffers(recurse=False))
        own["running_mean"].copy_(found.mean)
        own["running_var"].copy_(found.squares / (found.count - 1))  # unbiased, as torch keeps it
    return len(seen)
