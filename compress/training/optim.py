"""Optimizers, and learning-rate schedules as pure functions of progress (so there is nothing to resume)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def param_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices and kernels decay; vectors (biases, batch-norm) and scalars do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_optimizer(
    model: nn.Module, kind: str, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; fused, which on a CPU is one pass over the weights, not six.

    Not for a model with ``drawn_weights``: torch's fused SGD fails where a weight has its first gradient
    in a later step than others.
    """
    import torch

    groups = param_groups(model, weight_decay)
    fused = not getattr(model, "drawn_weights", False)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=fused)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=fused)


def one_cycle(t: float, warmup: float = 0.3) -> float:
    """Fraction of the peak rate at ``t`` in [0, 1]: 1/25 up to 1 at ``warmup``, down to 4e-6, both cosines.

    "Super-Convergence", Smith and Topin 2018, in the two-phase cosine form.
    """
    if t < warmup:
        return _cosine(1 / 25, 1.0, t / warmup)
    return _cosine(1.0, 1 / 25e4, (t - warmup) / (1 - warmup))


def cosine(t: float, warmup: float = 0.05) -> float:
    """Fraction of the peak rate at ``t`` in [0, 1]: linear up to 1 at ``warmup``, then a cosine to 0."""
    if t < warmup:
        return t / warmup
    return _cosine(1.0, 0.0, (t - warmup) / (1 - warmup))


def lr_at(kind: str, step: int, steps: int, warmup: float | None = None) -> float:
    """Fraction of the peak rate for step ``step`` (from 0) of ``steps``; ``warmup`` is a fraction of them."""
    if kind == "one_cycle":
        return one_cycle(step / max(1, steps - 1), *(() if warmup is None else (warmup,)))
    return cosine((step + 1) / (steps + 1), *(() if warmup is None else (warmup,)))  # never exactly 0


def _cosine(start: float, end: float, t: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2
