"""What search_hour.py and search_hypervolume.py share: one core, processes on it, a study's baseline."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compress.errors import CompressError
from compress.latency_table.table import LatencyTable
from compress.runtimes.base import Runtime
from compress.store import Store
from search.objective import Measuring
from search.records import Record
from search.spec import StudySpec


def cores() -> list[int]:
    """Those this process may use, core 0, which serves interrupts, last; none where the system tells none."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    return sorted(allowed, reverse=True)


def alone_on(core: int | None) -> None:
    """This process with one thread on one core: its CPU time is at most its time by the clock."""
    import torch

    os.environ["OMP_NUM_THREADS"] = "1"  # of its children
    torch.set_num_threads(1)  # it may be loaded by now, and has read the variable
    if core is not None:
        os.sched_setaffinity(0, {core})


def store_of(spec: StudySpec, own_tables: bool = False) -> Store:
    """A study's own: what another one has trained must not come for free. The machine's latency tables are
    shared, unless the study is to measure its own."""
    root = Path("runs") / ".stores" / f"{spec.name}-{spec.identity}"
    if own_tables:
        return Store(root)
    shared = Store().root.resolve() / "latency"
    if not (root / "latency").is_symlink():
        for folder in (root, shared):
            folder.mkdir(parents=True, exist_ok=True)
        (root / "latency").symlink_to(shared)
    return Store(root)


def prepare(spec: StudySpec, store: Store, log: Callable[[str], None]) -> Runtime:
    """Train the study's baseline, and give the runtime that is chosen on it."""
    return Measuring(spec, store, log, log).base.scored.shipped.runtime


def calibrate(runtime: Runtime, store: Store, log: Callable[[str], None]) -> None:
    """Measure the machine's latency table for ``runtime``, where ``store`` has none."""
    table = LatencyTable(runtime, store)
    if not table.calibrated:
        table.calibrate(log=log)


def in_child(core: int | None, log: Path, work: Callable[..., object], *args: Any) -> None:
    """``work(*args)`` in a process of its own, on one core; what it prints is appended to ``log``.

    It ends when its parent does, also by a kill.

    Raises:
        CompressError: it failed.
    """
    # A killed search leaves semaphores to Python's tracker, which frees them and would warn of it.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_child, args=(os.getpid(), core, log, work, args), daemon=True)
    child.start()
    child.join()
    if child.exitcode:
        raise CompressError(f"exit code {child.exitcode}; the last lines of {log} say why")


def _child(parent: int, core: int | None, log: Path, work: Callable[..., object], args: tuple[Any]) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    alone_on(core)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    work(*args)


def said(record: Record, base: dict[str, float]) -> str:
    """A candidate's figures on val, beside the baseline's."""
    ratio = record.measured["ms"] / base["ms"]
    return f"trial {record.number}: F1 val {record.measured['f1']:.3f}, {ratio:.2f} of the baseline's time"


def stop(error: CompressError) -> None:
    """As the command lines do: one line, no traceback."""
    sys.exit(f"error: {error}")
