"""Schedules, and which parameters decay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tinynet import TinyNet
from torch import nn

from compress.training.optim import lr_at, make_optimizer, param_groups


def test_one_cycle_is_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=200, pct_start=0.3, cycle_momentum=False
    )
    for step in range(200):
        # torch turns at step pct * total - 1, that is 59 of 199, not at 0.3 * 199
        assert lr_at("one_cycle", step, 200, warmup=59 / 199) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-9
        )
        optimizer.step()
        if step < 199:
            reference.step()


@pytest.mark.parametrize("kind", ["one_cycle", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_schedules_rise_to_the_peak_and_fall_to_nothing(kind: str, steps: int) -> None:
    rates = [lr_at(kind, step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = int(np.argmax(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps == 1000:
        assert max(rates) > 0.999
        assert rates[-1] < 1e-4
        assert top / steps == pytest.approx({"one_cycle": 0.3, "cosine": 0.05}[kind], abs=0.01)


def test_biases_and_norms_do_not_decay() -> None:
    module = TinyNet()
    decayed, free = param_groups(module, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(module.parameters()))
    norm = module.stem[1]
    start = norm.weight.detach().clone()
    optimizer = make_optimizer(module, "sgd", 0.1, 0.9, 0.1)
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    conv = module.stem[0].weight.detach().clone()
    optimizer.step()
    assert torch.equal(norm.weight, start)
    assert not torch.equal(module.stem[0].weight, conv)
