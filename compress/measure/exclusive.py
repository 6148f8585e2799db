"""The machine to ourselves, as far as that goes: one timing at a time, on fixed cores, before other processes
where that is allowed, no collector."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from compress.errors import BusyError

_PROBED_CORES = 6  # with more cores than this, so many of them are looked at
_PROBE_S = 0.015
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@contextmanager
def exclusive(cores: int = 1, wait: float = 600.0) -> Iterator[tuple[int, ...]]:
    """Hold the machine's timing lock, pin every thread of this process and let it go first, stop the
    garbage collector.

    Everything is put back at the end. Where the system has no affinity calls nothing is pinned.

    Args:
        cores: how many cores to pin to; the least busy ones are taken.
        wait: seconds to wait for another timing on this machine to end.

    Yields:
        The cores pinned to; empty when pinning is not possible here.

    Raises:
        BusyError: another timing held the lock for all of ``wait``.
    """
    with _timing_lock(wait), _no_collector(), pinned(cores) as where, first_in_line():
        yield where


@contextmanager
def pinned(cores: int = 1) -> Iterator[tuple[int, ...]]:
    """Pin all threads of this process to its ``cores`` least busy cores; see ``exclusive``.

    All threads, because a runtime's pool was made before: pinning the caller alone leaves it floating.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    own = os.sched_getaffinity(0)
    before = {thread: mask for thread in _threads() if (mask := _affinity(thread)) is not None}
    try:
        chosen = _least_busy(own, cores)
    except OSError:  # a sandbox forbids it
        yield ()
        return
    try:
        for thread in before:
            _pin(thread, set(chosen))
        yield chosen
    finally:
        for thread in _threads():  # threads born meanwhile inherited the pin
            _pin(thread, before.get(thread, own))


@contextmanager
def first_in_line() -> Iterator[bool]:
    """Run all threads of this process before those of ordinary priority (SCHED_RR), if that is allowed: to
    root, or with CAP_SYS_NICE. Linux keeps 5 % of each core for the others all the same.

    Yields:
        Whether it was allowed.
    """
    before = {thread: held for thread in _threads() if (held := _scheduling(thread)) is not None}
    if not before:
        yield False
        return
    allowed = True
    for thread in before:
        allowed &= _schedule(thread, os.SCHED_RR, 1)
    try:
        yield allowed
    finally:
        ordinary = before.get(threading.get_native_id(), (0, 0))
        for thread in _threads():  # threads born meanwhile inherited it
            _schedule(thread, *before.get(thread, ordinary))


def _least_busy(allowed: set[int], cores: int) -> tuple[int, ...]:
    """Those on which a short spin gets most done: other processes, a busy hyperthread, a slow kind of core
    and a low clock all count. Core 0 serves interrupts, so it is left out where there are enough others."""
    candidates = sorted(allowed)
    if len(candidates) > max(_PROBED_CORES, cores):
        many, last = max(_PROBED_CORES, cores), len(candidates) - 1
        candidates = sorted({candidates[1 + round(i * (last - 1) / max(many - 1, 1))] for i in range(many)})
    if len(candidates) <= cores:
        return tuple(candidates)
    done: dict[int, int] = {}
    try:
        for core in candidates:
            os.sched_setaffinity(0, {core})
            done[core], end = 0, time.perf_counter_ns() + round(_PROBE_S * 1e9)
            while time.perf_counter_ns() < end:
                done[core] += 1
    finally:
        os.sched_setaffinity(0, allowed)
    best = sorted(candidates, key=lambda core: -done[core])
    return tuple(sorted(_apart(best)[:cores]))


def _apart(cores: Sequence[int]) -> list[int]:
    """In their order, but hyperthreads that share a core with an earlier one last: two threads of a run on
    one core would wait for each other."""
    first, seen = [], set[str]()
    for core in cores:
        shared = _SIBLINGS.format(core)
        with suppress(OSError):
            shared = Path(shared).read_text()
        if shared not in seen:
            first.append(core)
        seen.add(shared)
    return [*first, *(core for core in cores if core not in first)]


def _threads() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]  # 0 is the calling thread


def _affinity(thread: int) -> set[int] | None:
    with suppress(OSError):  # it ended since
        return os.sched_getaffinity(thread)
    return None


def _pin(thread: int, cores: set[int]) -> None:
    with suppress(OSError):
        os.sched_setaffinity(thread, cores)


def _scheduling(thread: int) -> tuple[int, int] | None:
    """Policy and priority; None where the system tells none (macOS), or the thread ended since."""
    with suppress(OSError, AttributeError):
        return os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority
    return None


def _schedule(thread: int, policy: int, priority: int) -> bool:
    with suppress(OSError):  # not allowed, or it ended since
        os.sched_setscheduler(thread, policy, os.sched_param(priority))
        return True
    return False


@contextmanager
def _no_collector() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _timing_lock(wait: float) -> Iterator[None]:
    """Two timings at once would measure each other."""
    from filelock import FileLock, Timeout

    shared = Path(tempfile.gettempdir()) / "beyondnas-timing.lock"
    lock = FileLock(shared, timeout=wait, mode=0o666)
    try:
        try:
            lock.acquire()
        except PermissionError:  # another user's file in a sticky folder: at least exclude our own processes
            lock = FileLock(shared.with_name(f"beyondnas-timing-{os.getuid()}.lock"), timeout=wait)
            lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"another timing on this machine has held {lock.lock_file} for {wait:g} s: wait for it to end"
        ) from error
    try:
        yield
    finally:
        lock.release()
