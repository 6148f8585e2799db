"""The machine to ourselves, as far as that goes: one timing at a time, on fixed cores, no collector."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compress.errors import CompressError

_PROBED_CORES = 4  # with more cores than this the last ones are looked at: core 0 serves interrupts
_PROBE_S = 0.015


@contextmanager
def exclusive(cores: int = 1, wait: float = 600.0) -> Iterator[tuple[int, ...]]:
    """Hold the machine's timing lock, pin every thread of this process, stop the garbage collector.

    Everything is put back at the end. Where the system has no affinity calls nothing is pinned.

    Args:
        cores: how many cores to pin to; the least busy ones are taken.
        wait: seconds to wait for another timing on this machine to end.

    Yields:
        The cores pinned to; empty when pinning is not possible here.

    Raises:
        CompressError: another timing held the lock for all of ``wait``.
    """
    with _timing_lock(wait), _no_collector(), pinned(cores) as where:
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
    chosen = _least_busy(own, cores)
    try:
        for thread in before:
            _pin(thread, set(chosen))
        yield chosen
    finally:
        for thread in _threads():  # threads born meanwhile inherited the pin
            _pin(thread, before.get(thread, own))


def _least_busy(allowed: set[int], cores: int) -> tuple[int, ...]:
    """A short spin on each core tells what share of it a thread of ours gets."""
    candidates = sorted(allowed)[-max(_PROBED_CORES, cores) :]
    if len(candidates) <= cores:
        return tuple(candidates)
    share: dict[int, float] = {}
    try:
        for core in candidates:
            os.sched_setaffinity(0, {core})
            wall, cpu = time.monotonic_ns(), time.thread_time_ns()
            while time.monotonic_ns() - wall < _PROBE_S * 1e9:
                pass
            share[core] = (time.thread_time_ns() - cpu) / (time.monotonic_ns() - wall)
    finally:
        os.sched_setaffinity(0, allowed)
    return tuple(sorted(sorted(candidates, key=lambda core: -share[core])[:cores]))


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
        raise CompressError(
            f"another timing on this machine has held {lock.lock_file} for {wait:g} s: wait for it to end"
        ) from error
    try:
        yield
    finally:
        lock.release()
