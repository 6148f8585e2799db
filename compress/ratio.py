"""How two times compare."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z95 = 1.959964  # standard deviations from the middle of a normal to an end of its 95 %


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

    @property
    def log_spread(self) -> float:
        """Standard deviation of its logarithm, from the interval."""
        return (math.log(self.high) - math.log(self.low)) / (2 * Z95)

    def drawn(self, samples: int, seed: int = 0) -> NDArray[np.float64]:
        """``samples`` of the log-normal that has this median and interval."""
        import numpy as np

        noise = np.random.default_rng((seed, 1)).standard_normal(samples)
        ratios: NDArray[np.float64] = self.median * np.exp(self.log_spread * noise)
        return ratios
