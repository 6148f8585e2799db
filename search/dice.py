"""What ``search.sample.suggest`` asks, answered by dice instead of an Optuna trial."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Dice:
    """Every choice drawn alike, or sizes at one end of what they may be.

    Attributes:
        end: ``high`` and ``low`` give the largest and the smallest of every number; blocks, activations and
            strides, which have no size or are bound by the total stride, are drawn all the same.
    """

    rng: random.Random
    end: Literal["low", "high"] | None = None

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        if self.end is not None:
            return low if self.end == "low" else high
        return self.rng.randrange(low, high + 1, step)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if self.end is not None:
            return low if self.end == "low" else high
        if step is not None:
            return low + step * self.rng.randint(0, round((high - low) / step))
        if log:
            return float(low * (high / low) ** self.rng.random())
        return self.rng.uniform(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        sizes = all(isinstance(choice, int | float) for choice in choices) and ".stride" not in name
        if self.end is None or not sizes:
            return self.rng.choice(choices)
        return (min if self.end == "low" else max)(choices)
