"""Who works on a trial: a lock on a file, which the kernel frees when its process dies.

A RUNNING trial whose lock is free was interrupted. Optuna's heartbeats say the same a minute later, and only
for databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class Claims:
    """The locks of one study on this machine."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._gate = FileLock(folder / "gate.lock")
        self._held: dict[int, FileLock] = {}

    @contextmanager
    def gate(self) -> Iterator[None]:
        """One worker at a time: asking for trials, taking interrupted ones back, telling results."""
        with self._gate:
            yield

    def take(self, number: int) -> None:
        """This process works on the trial of that number; inside the gate."""
        lock = self._lock(number)
        lock.acquire(timeout=0)
        self._held[number] = lock

    def drop(self, number: int) -> None:
        """It no longer does."""
        self._held.pop(number).release()
        (self._folder / f"{number}.lock").unlink(missing_ok=True)

    def alone(self, number: int) -> bool:
        """Whether no living process works on that trial; inside the gate."""
        lock = self._lock(number)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        lock.release()
        (self._folder / f"{number}.lock").unlink(missing_ok=True)
        return True

    def _lock(self, number: int) -> FileLock:
        return FileLock(self._folder / f"{number}.lock")
