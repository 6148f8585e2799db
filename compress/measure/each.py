"""Every item once, one at a time, as the competition timed its test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from compress.measure.exclusive import exclusive


def each(
    items: Iterable[Any], steps: tuple[Callable[[Any], Any], ...], cores: int = 1
) -> list[tuple[Any, tuple[float, ...]]]:
    """What every item has become after the ``steps``, and how long each step took.

    A single call is no measurement of a model: sum many, or use ``interleaved`` to compare two.

    Args:
        steps: functions of one argument; each takes what the one before gave.
        cores: cores to pin to, as many as the model has threads.

    Returns:
        Per item the last value, and the seconds of each step.

    Raises:
        CompressError: another timing on this machine did not end.
    """
    out = []
    with exclusive(cores):
        for item in items:
            value, took = item, []
            for step in steps:
                start = time.perf_counter_ns()
                value = step(value)
                took.append((time.perf_counter_ns() - start) / 1e9)
            out.append((value, tuple(took)))
    return out
