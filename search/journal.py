"""A journal file that survives ``kill -9``: its lock goes with its holder, half a line is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend


class KernelLock:
    """Optuna's own locks are files that a killed process leaves behind, and that others then wait out.

    Held while a line is appended, so whoever takes it first repairs what a killed writer left.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = FileLock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        repair(self._journal)
        return True

    def release(self) -> None:
        self._lock.release()


def backend(path: Path) -> JournalFileBackend:
    """The journal at ``path``, repaired before it is read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    lock: Any = KernelLock(path)  # Optuna's base class for locks is private
    lock.acquire()
    lock.release()
    return JournalFileBackend(str(path), lock_obj=lock)


def repair(path: Path) -> None:
    """Cut off a last line without its end: another line behind it would make the whole file unreadable."""
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        at = end
        while at > 0:
            start = max(0, at - 4096)
            file.seek(start)
            cut = file.read(at - start).rfind(b"\n")
            if cut >= 0:
                at = start + cut + 1
                break
            at = start
        if at < end:
            file.truncate(at)
