"""One call after the other, each timed."""

import time

import pytest

from compress.measure.each import each


def test_steps_follow_each_other_and_are_timed_apart() -> None:
    def slow(x: int) -> int:
        time.sleep(0.02)
        return 10 * x

    results = each([1, 2, 3], (slow, str))
    assert [value for value, _ in results] == ["10", "20", "30"]
    for _, (first, second) in results:
        assert first >= 0.02
        assert 0 <= second < first


def test_nothing_and_what_is_raised() -> None:
    assert each([], (str,)) == []
    with pytest.raises(ZeroDivisionError):
        each([0], (lambda x: 1 / x,))
