"""How two times compare."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Time of a candidate divided by a reference's, paired, with its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def faster(self) -> bool:
        return self.high < 1.0

    @property
    def tie(self) -> bool:
        return self.low <= 1.0 <= self.high
