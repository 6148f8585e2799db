"""The folder of a study: held while it runs, and whose it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compress.errors import InputError
from compress.store import move_aside, write_text
from search.spec import StudySpec

_FILE = "study.yaml"


@dataclass(frozen=True)
class StudyFolder:
    """``runs/<name>``, and where the study of another file of that name was moved."""

    path: Path
    moved: Path | None = None

    @classmethod
    @contextmanager
    def open(cls, spec: StudySpec, root: Path = Path("runs")) -> Iterator[StudyFolder]:
        """Held while the study runs; what another study or run of that name left is moved aside.

        Raises:
            InputError: another study or run of that name is going on.
        """
        from filelock import FileLock, Timeout

        path = root / spec.name
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{spec.name}.lock")  # the same as a run's
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{path}: another run of that name is going on; wait, or set name") from None
        try:
            moved = move_aside(path) if path.exists() and not _of(path, spec) else None
            path.mkdir(parents=True, exist_ok=True)
            write_text(path / _FILE, f"# {spec.identity}\n{spec.to_yaml()}")
            yield cls(path, moved)
        finally:
            lock.release()

    def log(self, line: str) -> None:
        """Append a line with the time of day to ``log.txt``; several workers may."""
        with (self.path / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


def _of(path: Path, spec: StudySpec) -> bool:
    """Whether the folder is of this study, or of none yet."""
    try:
        first = (path / _FILE).read_text(encoding="utf-8").splitlines()[0]
    except (FileNotFoundError, IndexError):
        return not any(path.iterdir())
    return first == f"# {spec.identity}"
