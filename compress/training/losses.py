"""Losses on soft targets, each N x C logits and N x C targets to a scalar mean over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from compress.data.images import ImageSet
    from compress.train import TrainSpec

LossFn = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""(logits N x C, soft targets N x C, images N x 3 x H x W in 0..255 as augmented) to a scalar."""


def soft_targets(targets: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Class indices (int64 N) to N x C rows that sum to 1 (label smoothing, Szegedy et al. 2016)."""
    from torch.nn.functional import one_hot

    hard = one_hot(targets, classes).float()
    return hard * (1 - smoothing) + smoothing / classes if smoothing else hard


def class_balanced_weights(counts: Tensor, beta: float) -> Tensor:
    """Weights (1 - beta) / (1 - beta^n), scaled to a mean of 1 over the classes that occur.

    ``counts``: images per class, C. A class without images weighs nothing.
    "Class-Balanced Loss Based on Effective Number of Samples", Cui et al. 2019.
    """
    import torch

    present = counts > 0
    weights = torch.where(present, (1 - beta) / (1 - beta ** counts.double().clamp(min=1)), 0.0)
    return (weights * present.sum() / weights.sum()).float()


def logit_adjustment(counts: Tensor, tau: float) -> Tensor:
    """tau * log prior, C, to be added to the logits in training only.

    "Long-tail learning via logit adjustment", Menon et al. 2021. A class without images counts as one.
    """
    counts = counts.double().clamp(min=1)
    return (tau * (counts / counts.sum()).log()).float()


def loss_of(spec: TrainSpec, data: ImageSet, device: str) -> LossFn:
    """The loss that a recipe's ``train`` names, for the classes of ``data`` as often as they occur there."""
    import torch

    counts = torch.bincount(torch.from_numpy(data.targets), minlength=len(data.labels)).to(device)
    return make_loss(spec.loss, counts, spec.beta, spec.tau)


def make_loss(kind: str, counts: Tensor, beta: float = 0.999, tau: float = 1.0) -> LossFn:
    """The loss named ``cross_entropy``, ``class_balanced`` or ``logit_adjusted``."""
    from torch.nn.functional import cross_entropy

    if kind == "class_balanced":
        weights = class_balanced_weights(counts, beta)
        return lambda logits, soft, _: cross_entropy(logits, soft, weight=weights)
    if kind == "logit_adjusted":
        shift = logit_adjustment(counts, tau)
        return lambda logits, soft, _: cross_entropy(logits + shift, soft)
    return lambda logits, soft, _: cross_entropy(logits, soft)
