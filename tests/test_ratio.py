"""A time ratio and its noise."""

from __future__ import annotations

import numpy as np
import pytest

from compress.ratio import Ratio


def test_a_ratio_with_noise_has_the_interval_it_was_made_from() -> None:
    ratio = Ratio(0.5, 0.4, 0.625)
    low, median, high = np.percentile(ratio.drawn(20_000), [2.5, 50, 97.5])
    assert (low, median, high) == pytest.approx((0.4, 0.5, 0.625), rel=0.02)
    assert Ratio(1.0, 1.0, 1.0).log_spread == 0.0
