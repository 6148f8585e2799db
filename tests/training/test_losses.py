"""Losses, against their formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from compress.training.losses import class_balanced_weights, make_loss, soft_targets


def slow_loss(kind: str, logits: np.ndarray, soft: np.ndarray, counts: list[int]) -> float:
    """The papers' formulas, class by class."""
    total = 0.0
    weights = [(1 - 0.99) / (1 - 0.99**n) if n else 0.0 for n in counts]
    scale = sum(n > 0 for n in counts) / sum(weights)
    for row, target in zip(logits, soft, strict=True):
        if kind == "logit_adjusted":
            row = [
                z + 1.5 * math.log(max(n, 1) / sum(max(m, 1) for m in counts))
                for z, n in zip(row, counts, strict=True)
            ]
        norm = math.log(sum(math.exp(z) for z in row))
        for c, share in enumerate(target):
            weight = weights[c] * scale if kind == "class_balanced" else 1.0
            total -= weight * share * (row[c] - norm)
    return total / len(logits)


@pytest.mark.parametrize("kind", ["cross_entropy", "class_balanced", "logit_adjusted"])
def test_losses_are_the_slow_references(kind: str) -> None:
    rng = np.random.default_rng(0)
    counts = [500, 40, 3, 0]
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    soft = soft_targets(torch.tensor([0, 1, 2, 0, 0, 1]), 4, 0.1)
    loss = make_loss(kind, torch.tensor(counts), beta=0.99, tau=1.5)
    found = loss(torch.from_numpy(logits), soft, torch.empty(0))
    assert float(found) == pytest.approx(slow_loss(kind, logits, soft.numpy(), counts), rel=1e-5)


def test_class_balanced_weights_go_from_equal_to_inverse_frequency() -> None:
    counts = torch.tensor([100, 10])
    equal, inverse = class_balanced_weights(counts, 0.0), class_balanced_weights(counts, 0.999999)
    assert equal.tolist() == [1.0, 1.0]
    assert float(inverse[1] / inverse[0]) == pytest.approx(10, rel=1e-3)
    assert float(inverse.mean()) == pytest.approx(1)
