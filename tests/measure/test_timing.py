"""What timings come to."""

from __future__ import annotations

import pytest

from compress.measure.timing import Timing, Timings
from compress.ratio import Ratio


def timed(median_ms: float, ratio: float) -> Timing:
    one = Ratio(ratio, ratio, ratio)
    return Timing(
        median_ms, 0.9 * median_ms, 1.1 * median_ms, 100, one, one, 1, 20, 0, 20, {}, 0.0, False, None
    )


def test_paired_milliseconds_keep_the_ratios_and_the_middle_of_the_medians() -> None:
    timings = Timings(
        {"a": timed(1.2, 1.0), "b": timed(2.0, 2.0), "c": timed(2.5, 3.0)}, lambda a, b: Ratio(1.0, 1.0, 1.0)
    )
    ms = timings.paired_ms()
    assert ms["b"] / ms["a"] == pytest.approx(2.0)
    assert ms["c"] / ms["a"] == pytest.approx(3.0)
    assert ms["a"] == pytest.approx((1.2 * (2.0 / 2) * (2.5 / 3)) ** (1 / 3))
    exact = Timings({"a": timed(4.0, 1.0), "b": timed(2.0, 0.5)}, lambda a, b: Ratio(1.0, 1.0, 1.0))
    assert exact.paired_ms() == pytest.approx({"a": 4.0, "b": 2.0})
