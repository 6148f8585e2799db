"""Multiply-accumulates, counted on what really runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one eval-mode forward of ``example`` (the whole batch).

    Counted at the level of aten operators, so subclasses of Conv2d and functional calls count too.
    """
    training = [layer for layer in module.modules() if layer.training]
    module.eval()
    try:
        with torch.no_grad(), unfused_attention(), FlopCounterMode(display=False) as counter:
            module(example)
    finally:
        for layer in training:
            layer.training = True
    return int(counter.get_total_flops()) // 2


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Attention as the operators it is made of: torch's fast path is one that hides its products."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
