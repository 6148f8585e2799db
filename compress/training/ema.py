"""An exponential moving average of a module's weights and batch-norm statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Ema:
    """Averages with decay min(``decay``, (1 + t) / (10 + t)) at update t, so that short runs do not
    keep their random start (the warm-up of TensorFlow's ``ExponentialMovingAverage``).

    Everything floating in the state dict is averaged; counters, and the names in ``copied`` (infinite
    values, whose average would be NaN), are copied.
    """

    def __init__(self, model: nn.Module, decay: float, copied: Collection[str] = ()) -> None:
        self.decay = decay
        self.copied = copied
        self.updates = 0
        self.state: dict[str, Tensor] = {k: v.clone() for k, v in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        import torch

        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = [], []
        for name, value in model.state_dict().items():
            if value.is_floating_point() and name not in self.copied:
                mine.append(self.state[name])
                theirs.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Inside, ``model`` has the averaged weights."""
        own = {k: v.clone() for k, v in model.state_dict().items()}
        model.load_state_dict(self.state)
        try:
            yield
        finally:
            model.load_state_dict(own)
