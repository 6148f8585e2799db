"""Who works on a trial: a lock on a file, which the kernel frees when its process dies.

A RUNNING trial whose lock is free was interrupted. Optuna's heartbeats say the same a minute later, and only
for databases.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from compress.spec import digest


class Claims:
    """The locks of one study.

    Args:
        folder: where they lie.
        complete: whether whoever works on the study has its locks there. Otherwise machines that share a
            database have each their own, and what another one does is not known here.
    """

    def __init__(self, folder: Path, complete: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.complete = complete
        self.left_alone: set[int] = set()  # trials of other machines that were told of
        self._folder = folder
        self._gate = FileLock(folder / "gate.lock")
        self._held: dict[int, FileLock] = {}

    @classmethod
    def of(cls, storage: str, study: str, folder: Path) -> Claims:
        """Beside the trials, whatever folder a study is run from: of ``sqlite`` and ``journal`` in its own
        ``folder``, of an SQLite URL beside that file, of a server's URL among the system's temporary files.

        On a network share locks must reach all machines, as those of NFS 4 and SMB do. Where they do not, a
        study there must be run from one machine at a time, or two would take the same trials back.
        """
        if "://" not in storage:
            return cls(folder / "claims")
        from sqlalchemy.engine import make_url

        url = make_url(storage)
        file = url.database or ""
        if url.get_backend_name() == "sqlite" and file and not file.startswith((":memory:", "file:")):
            return cls(Path(f"{file}.claims").absolute() / study)
        server = digest(url.get_backend_name(), url.host, url.port, url.database, study)
        return cls(Path(tempfile.gettempdir()) / f"beyondnas-claims-{user()}" / server, complete=False)

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

    def holds(self, number: int) -> bool:
        """Whether it still does, by its own account."""
        return number in self._held

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


def user() -> str:
    """Who this is, in a file's name; on Windows each user's temporary files are apart anyway."""
    return str(os.getuid()) if hasattr(os, "getuid") else "user"
