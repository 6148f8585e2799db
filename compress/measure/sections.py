"""A section: a few calls of one loaded run in a row, and whether other processes disturbed them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Run = Callable[[], object]

_SECTION_NS = 6e6  # about the wall time of a section's counted calls
_CALLS = (3, 64)  # fewest and most of them
_LEAD_NS, _LEAD = 1.5e6, (1, 4)  # before them: calls that pay for what the run before left in the caches
_SPEED_CHANGE = 0.15  # a core whose neighbour wakes up loses about half; turbo steps are a few percent


class Sections:
    """All sections of one load of a run; not the load itself, whose memory may go when the timing ends.

    Attributes:
        calls: counted calls in a section.
        inputs: what one call works on; times of one of them are a call's divided by it.
        wall, off: blocks x calls, ns: wall time, and the part of it off the core.
        speed: blocks x 2, log ns of a fixed piece of work before and after the section.
    """

    def __init__(self, call_ns: float, inputs: int = 1) -> None:
        self.inputs = inputs
        self.calls = int(np.clip(round(_SECTION_NS / call_ns), *_CALLS))
        self._lead = int(np.clip(round(_LEAD_NS / call_ns), *_LEAD))
        self._wall: list[list[int]] = []
        self._off: list[list[int]] = []
        self._speed: list[tuple[float, float]] = []

    def time_one(self, run: Run, speed_before: float) -> float:
        """Time one section; gives the core's speed after it."""
        for _ in range(self._lead):
            run()
        wall, off = timer(run)(run, self.calls)
        self._wall.append(wall)
        self._off.append(off)
        self._speed.append((speed_before, speed := core_speed()))
        return speed

    @property
    def wall(self) -> Floats:
        return np.asarray(self._wall, dtype=np.float64)

    @property
    def speed(self) -> Floats:
        return np.asarray(self._speed)

    def undisturbed(self) -> Bools:
        """Blocks x calls: those the process was on its core for. One that waits by itself (for a device, a
        pool) has a floor of its own."""
        off = np.asarray(self._off, dtype=np.float64)
        allowed = np.percentile(off, 10) + max(20e3, 0.03 * float(np.median(self.wall)))
        quiet: Bools = off <= allowed
        return quiet

    def lost_core(self) -> Bools:
        """Blocks in which over half of the calls were disturbed."""
        lost: Bools = self.undisturbed().mean(axis=1) < 0.5
        return lost

    def other_speed(self, usual: Floats) -> Bools:
        """Blocks in which the core ran at another speed than ``usual`` (log ns, one a block)."""
        other: Bools = np.abs(self.speed - usual[:, None]).max(axis=1) > _SPEED_CHANGE
        return other

    def levels(self) -> Floats:
        """Log time of an input in each block's section: the lower quartile of its undisturbed calls (of all
        where none is). Other processes only ever add time, so it is steadier than the median; it takes calls
        that all do the same work."""
        quiet = self.undisturbed()
        quiet |= ~quiet.any(axis=1, keepdims=True)
        quartile = np.nanpercentile(np.where(quiet, self.wall, np.nan), 25, axis=1)
        levels: Floats = np.log(quartile / self.inputs)
        return levels


def core_speed() -> float:
    """Log of the time of a fixed piece of work, about 4 us: rises when the core is clocked down, or shared
    with a hyperthread. The shortest of some, so that losing the core does not count."""
    best, clock = np.inf, time.perf_counter_ns
    for _ in range(8):
        start = clock()
        for _ in range(400):
            pass
        best = min(best, clock() - start)
    return float(np.log(max(best, 1)))


def inputs_of(run: Run) -> int:
    """How many inputs a call of ``run`` works on: the ``inputs`` it carries, or one."""
    return getattr(run, "inputs", 1)


def warm_up(run: Run, most_ns: float) -> float:
    """Call until two windows in a row agree within 2 %, or for ``most_ns``; gives nanoseconds a call."""
    run()
    start, before, window = time.perf_counter_ns(), np.inf, 3
    while True:
        took = []
        for _ in range(window):
            called = time.perf_counter_ns()
            run()
            took.append(time.perf_counter_ns() - called)
        now = max(float(np.median(took)), 1.0)
        if abs(now / before - 1) < 0.02 or time.perf_counter_ns() - start > most_ns:
            return now
        before, window = now, min(2 * window, 100)


def bound(run: Callable[[NDArray[Any]], object], value: NDArray[Any]) -> Run:
    """A call of ``run`` on its own copy of ``value``; it carries the ``cuda_stream`` that ``run`` has."""
    call = partial(run, value.copy())
    if (stream := getattr(run, "cuda_stream", None)) is not None:
        call.cuda_stream = stream  # type: ignore[attr-defined]
    return call


Timer = Callable[[Run, int], tuple[list[int], list[int]]]


def timer(run: Run) -> Timer:
    """The clock for ``run``: CUDA events where it carries the ``cuda_stream`` its work goes to."""
    stream = getattr(run, "cuda_stream", None)
    if stream is None:
        return on_cpu
    return lambda call, calls: on_cuda(call, calls, stream)


def on_cpu(run: Run, calls: int) -> tuple[list[int], list[int]]:
    """Per call: wall time, and wall time minus the process's CPU time; ns."""
    wall, off = [], []
    clock, cpu = time.perf_counter_ns, time.process_time_ns
    for _ in range(calls):
        used = cpu()
        start = clock()
        run()
        took = clock() - start
        wall.append(took)
        off.append(took - (cpu() - used))
    return wall, off


def on_cuda(run: Run, calls: int, stream: Any) -> tuple[list[int], list[int]]:
    """Per call: time between two events on ``stream`` (a torch.cuda.Stream), ns. Waiting for the device is
    no disturbance, so nothing is off the core."""
    import torch

    wall = []
    for _ in range(calls):
        events: list[Any] = [torch.cuda.Event(enable_timing=True) for _ in range(2)]  # type: ignore[no-untyped-call]
        events[0].record(stream)
        run()
        events[1].record(stream)
        events[1].synchronize()
        wall.append(round(events[0].elapsed_time(events[1]) * 1e6))
    return wall, [0] * calls
