"""The inference clock: how long models take beside each other, on a machine that is never quiet.

All runs are loaded in one process, each several times, and timed in turns. A block is one section of calls
of each load, in random order; times are compared within a block, so that what slows the machine for longer
than a block slows all. Sections during which the process lost its core, the core changed its speed or the
hypervisor took it do not count. See ``interval`` for what the 95 % intervals cover.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from compress.measure.exclusive import exclusive
from compress.measure.others import Others, busiest
from compress.measure.sections import Run
from compress.measure.session import Session
from compress.measure.timing import Timing as Timing
from compress.measure.timing import Timings as Timings

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
        seconds: for about this long (1.25 s a run when left out), loading and warming up not counted.
            The results never decide when to stop: an interval that may stop when it looks good is too narrow.
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
        session = Session(loaded, where, min_blocks, seed)
        pairs = [(name, other) for name in runs for other in {reference, against or reference}]
        others = Others()
        while (
            session.blocks < _FEWEST_BLOCKS
            or others.seconds < budget
            or (session.too_few(pairs) and others.seconds < 3 * budget)
        ):
            session.time_block(loaded, rng)
        kept_busy = others.cores()
    warning = _crowded(cores, len(where) or os.cpu_count() or 1, kept_busy)
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


def _crowded(cores: int, had: int, others: float) -> str | None:
    """Several threads that share their cores wait for each other: such times are worse than noise. ``had``
    is how many cores there were for them."""
    if had < cores:
        cramped = f"{cores} threads were timed on {had} core{'s' * (had > 1)}"
        return f"{cramped}: such times say little; time no more threads than cores"
    total = os.cpu_count() or 1
    if cores < 2 or total - others > cores - 0.25:
        return None
    who = ", ".join(map(str, busiest()))
    return (
        f"{cores} threads were timed while other processes kept {others:.1f} of {total} cores busy"
        f"{f' ({who})' if who else ''}: such times say little; stop these, or time one thread"
    )
