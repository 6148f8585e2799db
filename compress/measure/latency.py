"""The inference clock: how long models take beside each other, on a machine that is never quiet.

All runs are loaded in one process and timed in turns. A block is one section of calls of each run, in
random order; a block's ratio is the candidate's median over the reference's, so that what slows the
machine for longer than a block slows both. The interval is a circular block bootstrap (Politis and
Romano, A circular block-resampling procedure for stationary data, 1992) of the median of these ratios.
A call during which the process was off its core (wall time beyond its CPU time) does not count, and for
a pair a block in which either lost over half of its calls is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compress.measure.exclusive import exclusive
from compress.ratio import Ratio

Floats = NDArray[np.float64]

_SECTION_NS = 8e6  # about the wall time of one run's section of a block
_CALLS = (3, 64)  # fewest and most counted calls in a section
_WARM_UP_NS = 3e8  # at most, per run
_LOOK_EVERY = 8  # blocks between two looks at whether this suffices


@dataclass(frozen=True)
class Timing:
    """How long one run takes.

    Attributes:
        median_ms, p10_ms, p90_ms: of the ``n`` undisturbed calls.
        ratio: paired time relative to the reference, with its 95 % interval; (1, 1, 1) for itself.
        ratio_against: the same relative to a second run of the same session; ``ratio`` without one.
        blocks, dropped: blocks that count, and blocks dropped as disturbed by other processes.
        busy: too few blocks were undisturbed, so the least disturbed ones count.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    n: int
    ratio: Ratio
    blocks: int
    dropped: int
    busy: bool
    ratio_against: Ratio


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    reference: str,
    against: str | None = None,
    seconds: float | None = None,
    precision: float = 0.01,
    min_blocks: int = 20,
    cores: int = 1,
    seed: int = 0,
) -> dict[str, Timing]:
    """Time ``runs`` against one of them.

    Args:
        runs: by name, functions of no argument that make one call.
        reference: the name that ratios are relative to.
        against: a second such name, for ``ratio_against``.
        seconds: stop after about this long (1.25 s a run when left out) ...
        precision: ... or earlier, when every ratio's 95 % interval is narrower than this share of it.
        min_blocks: undisturbed blocks to wait for, for up to three times ``seconds``.
        cores: cores to pin to: as many as a run has threads.

    Raises:
        CompressError: another timing on this machine did not end.
        ValueError: ``reference`` or ``against`` is not among ``runs``.
    """
    for name in {reference, against or reference} - set(runs):
        raise ValueError(f"reference {name!r} is not among the runs {sorted(runs)}")
    budget = (1.25 * len(runs) if seconds is None else seconds) * 1e9
    rng = np.random.default_rng(seed)
    with exclusive(cores):
        sections = {name: _Sections(run, _warm_up(run)) for name, run in runs.items()}
        names = list(runs)
        start, done = time.perf_counter_ns(), 0
        while True:
            for i in rng.permutation(len(names)):
                sections[names[i]].time_one()
            done += 1
            spent = time.perf_counter_ns() - start
            if done < min_blocks or (done % _LOOK_EVERY and spent < budget):
                continue
            pairs = [(s, sections[r]) for s in sections.values() for r in {reference, against or reference}]
            fewest = min(len(_clean(one, other)) for one, other in pairs)
            if fewest < min_blocks and spent < 3 * budget:
                continue
            if spent >= budget or _widest(pairs, seed) <= precision:
                break
    timings = {name: _timing(s, sections[reference], min_blocks, seed) for name, s in sections.items()}
    if against is None:
        return timings
    other = {name: _timing(s, sections[against], min_blocks, seed) for name, s in sections.items()}
    return {name: replace(t, ratio_against=other[name].ratio) for name, t in timings.items()}


class _Sections:
    """All sections of one run: wall time and time off the core of every call, blocks x calls, ns."""

    def __init__(self, run: Callable[[], object], call_ns: float) -> None:
        self.run = run
        self.calls = int(np.clip(round(_SECTION_NS / call_ns), *_CALLS))
        self._wall: list[list[int]] = []
        self._off: list[list[int]] = []

    def time_one(self) -> None:
        run, wall, off = self.run, [], []
        clock, cpu = time.perf_counter_ns, time.process_time_ns
        run()  # not counted: it pays for what the run before left in the caches
        for _ in range(self.calls):
            used = cpu()
            start = clock()
            run()
            took = clock() - start
            wall.append(took)
            off.append(took - (cpu() - used))
        self._wall.append(wall)
        self._off.append(off)

    @property
    def wall(self) -> Floats:
        return np.asarray(self._wall, dtype=np.float64)

    def undisturbed(self) -> NDArray[np.bool_]:
        """Blocks x calls. A run that waits by itself (for a device, a pool) has a floor of its own."""
        off = np.asarray(self._off, dtype=np.float64)
        allowed = np.percentile(off, 10) + max(20e3, 0.03 * float(np.median(self.wall)))
        quiet: NDArray[np.bool_] = off <= allowed
        return quiet


def _warm_up(run: Callable[[], object]) -> float:
    """Call until two windows in a row agree within 2 %; nanoseconds a call."""
    run()
    start, before, window = time.perf_counter_ns(), np.inf, 3
    while True:
        took = []
        for _ in range(window):
            called = time.perf_counter_ns()
            run()
            took.append(time.perf_counter_ns() - called)
        now = max(float(np.median(took)), 1.0)
        if abs(now / before - 1) < 0.02 or time.perf_counter_ns() - start > _WARM_UP_NS:
            return now
        before, window = now, min(2 * window, 100)


def _quiet_share(one: _Sections, other: _Sections) -> Floats:
    """Per block, the share of undisturbed calls of the run that lost more of them."""
    share: Floats = np.minimum(one.undisturbed().mean(axis=1), other.undisturbed().mean(axis=1))
    return share


def _clean(one: _Sections, other: _Sections) -> NDArray[np.intp]:
    """Blocks in which both runs had half of their calls undisturbed."""
    return np.flatnonzero(_quiet_share(one, other) >= 0.5)


def _section_medians(section: _Sections, blocks: NDArray[np.intp]) -> Floats:
    """Per block, of the undisturbed calls; of all calls where none is."""
    wall, quiet = section.wall[blocks], section.undisturbed()[blocks]
    quiet |= ~quiet.any(axis=1, keepdims=True)
    medians: Floats = np.nanmedian(np.where(quiet, wall, np.nan), axis=1)
    return medians


def _log_ratios(candidate: _Sections, reference: _Sections, blocks: NDArray[np.intp]) -> Floats:
    ratios: Floats = np.log(_section_medians(candidate, blocks) / _section_medians(reference, blocks))
    return ratios


def _widest(pairs: Sequence[tuple[_Sections, _Sections]], seed: int) -> float:
    """Width of the widest interval of a log ratio: about the share of the ratio it spans."""
    widths = [0.0]
    for section, reference in pairs:
        blocks = _clean(section, reference)
        if section is not reference and len(blocks):
            low, high = _bootstrap_median(_log_ratios(section, reference, blocks), seed, samples=400)
            widths.append(high - low)
    return max(widths)


def _timing(section: _Sections, reference: _Sections, min_blocks: int, seed: int) -> Timing:
    blocks = _clean(section, reference)
    total, busy = len(section.wall), len(blocks) < min_blocks
    if busy:
        least = np.argsort(-_quiet_share(section, reference), kind="stable")[:min_blocks]
        blocks = np.sort(least)
    quiet = section.undisturbed()[blocks]
    calls = section.wall[blocks][quiet] if quiet.any() else section.wall[blocks].ravel()
    p10, median, p90 = (float(v) / 1e6 for v in np.percentile(calls, [10, 50, 90]))
    ratio = Ratio(1.0, 1.0, 1.0)
    if section is not reference:
        logs = _log_ratios(section, reference, blocks)
        low, high = _bootstrap_median(logs, seed)
        ratio = Ratio(float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high)))
    return Timing(median, p10, p90, calls.size, ratio, len(blocks), total - len(blocks), busy, ratio)


def _bootstrap_median(series: Floats, seed: int, samples: int = 2000) -> tuple[float, float]:
    """95 % interval of the median of a series whose neighbours may depend on each other.

    The percentiles are those of Hesterberg's expanded interval (What teachers should know about the
    bootstrap, 2015), for plain ones are too narrow with few blocks.
    """
    from scipy.special import ndtr, stdtrit

    n = len(series)
    length = max(1, round(n ** (1 / 3)))
    drawn = -(-n // length)
    starts = np.random.default_rng(seed).integers(0, n, (samples, drawn))
    index = (starts[:, :, None] + np.arange(length)) % n
    medians = np.median(series[index.reshape(samples, -1)[:, :n]], axis=1)
    free = max(drawn - 1, 1)
    tail = 100 * float(ndtr(stdtrit(free, 0.025) * np.sqrt((free + 1) / free)))
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(low), float(high)
