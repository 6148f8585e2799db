"""The inference clock: how long models take beside each other, on a machine that is never quiet.

All runs are loaded in one process, each several times, and timed in turns. A block is one section of calls
of each load, in random order; times are compared within a block, so that what slows the machine for longer
than a block slows all. Sections during which the process lost its core, the core changed its speed or the
hypervisor took it do not count. See ``interval`` for what the 95 % intervals cover.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compress.measure.exclusive import exclusive
from compress.measure.interval import log_ratio
from compress.measure.others import Others, busiest, stolen_s
from compress.measure.sections import Bools, Floats, Run, Sections, core_speed, warm_up
from compress.ratio import Ratio

_WARM_UP_NS = 3e8  # at most, per run
_LOADS, _LOADING_S = 4, 1.5
_FEWEST_BLOCKS = 3  # with fewer there is no interval


@dataclass(frozen=True)
class Loads:
    """A run that can be loaded afresh, so that the luck of one load's place in memory does not decide.

    Attributes:
        load: gives a function of no argument that makes one call, with memory of its own.
        most: loads to take ...
        seconds: ... or fewer where they would take longer than this: two, or one if that alone takes four
            times as long.
    """

    load: Callable[[], Run]
    most: int = _LOADS
    seconds: float = _LOADING_S


@dataclass(frozen=True)
class Timing:
    """How long one run takes.

    Attributes:
        median_ms, p10_ms, p90_ms: of the ``n`` calls that count.
        ratio: paired time relative to the reference, with its 95 % interval; (1, 1, 1) for itself. It
            compares the lower quartiles of sections; inside a tie nothing ranks.
        ratio_against: the same relative to a second run of the same session; ``ratio`` without one.
        loads: how often the run was loaded.
        blocks, dropped: blocks that count for ``ratio``, and blocks dropped as disturbed.
        sections, disturbed: sections of this run, and how many of them do not count, by reason.
        others: cores that other processes kept busy meanwhile.
        busy: too few blocks were undisturbed, so all count.
        warning: why these times are to be taken with care; None when they are not.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    n: int
    ratio: Ratio
    ratio_against: Ratio
    loads: int
    blocks: int
    dropped: int
    sections: int
    disturbed: Mapping[str, int]
    others: float
    busy: bool
    warning: str | None

    @property
    def note(self) -> str:
        """How it was timed, in one line."""
        why = ", ".join(f"{count} {reason}" for reason, count in self.disturbed.items() if count)
        return (
            f"{self.loads} load{'s' * (self.loads > 1)} x {self.blocks} blocks, {self.dropped} dropped; "
            + (f"of {self.sections} sections {why}; " if why else "")
            + f"other processes kept {self.others:.1f} of {os.cpu_count()} cores busy"
        )


class Timings(dict[str, Timing]):
    """A ``Timing`` by name, and the ratio of any two of them."""

    def __init__(self, timings: Mapping[str, Timing], ratio: Callable[[str, str], Ratio]) -> None:
        super().__init__(timings)
        self.ratio = ratio  # of a candidate's time to a reference's, by their names


def interleaved(
    runs: Mapping[str, Run | Loads],
    *,
    reference: str,
    against: str | None = None,
    seconds: float | None = None,
    min_blocks: int = 20,
    cores: int = 1,
    seed: int = 0,
) -> Timings:
    """Time ``runs`` against one of them.

    Args:
        runs: by name, functions of no argument that make one call, or ``Loads`` of such. Timed by events
            where they carry a ``cuda_stream``.
        reference: the name that ratios are relative to.
        against: a second such name, for ``ratio_against``.
        seconds: for about this long (1.25 s a run when left out), loading and warming up not counted. The
            results never decide when to stop: an interval that may stop when it looks good is too narrow.
        min_blocks: undisturbed sections of each run to wait for, for up to three times ``seconds``.
        cores: cores to pin to: as many as a run has threads.

    Raises:
        CompressError: another timing on this machine did not end.
        ValueError: ``reference`` or ``against`` is not among ``runs``.
    """
    for name in {reference, against or reference} - set(runs):
        raise ValueError(f"reference {name!r} is not among the runs {sorted(runs)}")
    budget = 1.25 * len(runs) if seconds is None else seconds
    rng = np.random.default_rng(seed)
    loaded = _load(runs, rng)
    with exclusive(cores) as where:
        session = _Session(loaded, where, min_blocks, seed)
        pairs = [(name, other) for name in runs for other in {reference, against or reference}]
        others = Others()
        while (
            session.blocks < _FEWEST_BLOCKS
            or others.seconds < budget
            or (session.too_few(pairs) and others.seconds < 3 * budget)
        ):
            session.time_block(loaded, rng)
        kept_busy = others.cores()
    warning = _crowded(cores, kept_busy)
    timings = {
        name: session.timing(name, reference, against or reference, kept_busy, warning) for name in runs
    }
    return Timings(timings, session.ratio)


def _load(runs: Mapping[str, Run | Loads], rng: np.random.Generator) -> dict[str, list[Run]]:
    """In random turns: what is loaded early may find better memory than what comes later."""
    from time import perf_counter

    loaded: dict[str, list[Run]] = {name: [] for name in runs}
    spent = dict.fromkeys(runs, 0.0)
    waiting = list(runs)
    while waiting:
        for name in [waiting[i] for i in rng.permutation(len(waiting))]:
            run, began = runs[name], perf_counter()
            loaded[name].append(run.load() if isinstance(run, Loads) else run)
            spent[name] += perf_counter() - began
            count = len(loaded[name])
            with_another = spent[name] * (1 + 1 / count)
            if not isinstance(run, Loads) or (
                count >= run.most or with_another > (run.seconds if count > 1 else 8 * run.seconds)
            ):
                waiting.remove(name)
    return loaded


class _Session:
    """Every section there is, by run and load."""

    def __init__(
        self, loaded: Mapping[str, list[Run]], cores: tuple[int, ...], min_blocks: int, seed: int
    ) -> None:
        self._sections: dict[str, list[Sections]] = {}
        for name, runs in loaded.items():
            took = [warm_up(run, _WARM_UP_NS / len(runs)) for run in runs]
            self._sections[name] = [Sections(float(np.median(took))) for _ in runs]
        self._enough = -(-min_blocks // min(map(len, self._sections.values())))
        self._cores, self._seed = cores, seed
        self._stolen: list[bool] = []

    def time_block(self, loaded: Mapping[str, list[Run]], rng: np.random.Generator) -> None:
        turns = [
            turn for name, runs in loaded.items() for turn in zip(self._sections[name], runs, strict=True)
        ]
        before, speed = stolen_s(self._cores), core_speed()
        for i in rng.permutation(len(turns)):
            sections, run = turns[i]
            speed = sections.time_one(run, speed)
        self._stolen.append(stolen_s(self._cores) > before)

    @property
    def blocks(self) -> int:
        return len(self._stolen)

    def too_few(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Whether two runs of a pair have too few undisturbed blocks in common."""
        if self.blocks < self._enough:
            return True
        bad = {name: self._disturbed(name) for name in self._sections}
        return any(self._clean(bad[a], bad[b]).sum() < self._enough for a, b in pairs)

    def _reasons(self, name: str) -> dict[str, Bools]:
        """Blocks x loads by reason."""
        speeds = [one.speed for sections in self._sections.values() for one in sections]
        usual = np.median(np.stack(speeds), axis=(0, 2))
        loads = self._sections[name]
        stolen = np.repeat(np.array(self._stolen)[:, None], len(loads), axis=1)
        return {
            "lost the core": np.stack([one.lost_core() for one in loads], axis=1),
            "met another core speed": np.stack([one.other_speed(usual) for one in loads], axis=1),
            "were stolen by the hypervisor": stolen,
        }

    def _disturbed(self, name: str) -> Bools:
        bad: Bools = np.any(list(self._reasons(name).values()), axis=0)
        return bad

    @staticmethod
    def _clean(one: Bools, other: Bools) -> Bools:
        """Blocks in which at least half of the loads of both runs count."""
        clean: Bools = (one.mean(axis=1) <= 0.5) & (other.mean(axis=1) <= 0.5)
        return clean

    def _levels(self, name: str, bad: Bools) -> Floats:
        levels: Floats = np.stack([one.levels() for one in self._sections[name]], axis=1)
        return np.where(bad, np.nan, levels)

    def _pair(self, one: str, other: str) -> tuple[Bools, Bools, Bools, bool]:
        """What is disturbed of each, the blocks that count, and whether that had to be all of them."""
        bad, bad_other = self._disturbed(one), self._disturbed(other)
        clean = self._clean(bad, bad_other)
        if clean.sum() >= self._enough:
            return bad, bad_other, clean, False
        return np.zeros_like(bad), np.zeros_like(bad_other), np.ones_like(clean), True

    def ratio(self, candidate: str, reference: str) -> Ratio:
        if candidate == reference:
            return Ratio(1.0, 1.0, 1.0)
        bad, bad_other, clean, _ = self._pair(candidate, reference)
        mine, other = (
            levels[:, np.isfinite(levels).any(axis=0)]  # a load that never counts says nothing
            for levels in (self._levels(candidate, bad)[clean], self._levels(reference, bad_other)[clean])
        )
        at, low, high = np.exp(log_ratio(mine, other, self._seed))
        return Ratio(float(at), float(low), float(high))

    def timing(self, name: str, reference: str, against: str, others: float, warning: str | None) -> Timing:
        bad, _, clean, busy = self._pair(name, reference)
        calls = self._calls(name, bad, clean)
        p10, median, p90 = (float(v) / 1e6 for v in np.percentile(calls, [10, 50, 90]))
        reasons = {reason: int(found.sum()) for reason, found in self._reasons(name).items()}
        if busy:
            lost = "other processes disturbed too many calls, so disturbed ones count: the interval is wide"
            warning = warning or lost
        return Timing(
            median_ms=median,
            p10_ms=p10,
            p90_ms=p90,
            n=calls.size,
            ratio=(ratio := self.ratio(name, reference)),
            ratio_against=ratio if against == reference else self.ratio(name, against),
            loads=len(self._sections[name]),
            blocks=int(clean.sum()),
            dropped=int((~clean).sum()),
            sections=bad.size,
            disturbed=reasons,
            others=others,
            busy=busy,
            warning=warning,
        )

    def _calls(self, name: str, bad: Bools, clean: Bools) -> Floats:
        """Wall times, ns: of the undisturbed calls where there are any."""
        wall, quiet = [], []
        for one, lost in zip(self._sections[name], bad.T, strict=True):
            counts = clean & ~lost
            wall.append(one.wall[counts].ravel())
            quiet.append(one.undisturbed()[counts].ravel())
        calls, undisturbed = np.concatenate(wall), np.concatenate(quiet)
        return calls[undisturbed] if undisturbed.any() else calls


def _crowded(cores: int, others: float) -> str | None:
    """Several threads that share their cores wait for each other: such times are worse than noise."""
    total = os.cpu_count() or 1
    if cores < 2 or total - others > cores - 0.25:
        return None
    who = ", ".join(map(str, busiest()))
    return (
        f"{cores} threads were timed while other processes kept {others:.1f} of {total} cores busy"
        f"{f' ({who})' if who else ''}: such times say little; stop these, or time one thread"
    )
