"""The folder of a study: held while it runs, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compress import folders
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
        path = root / spec.name
        with folders.held(path):  # as a run of that name does
            moved = move_aside(path) if path.exists() and not _of(path, spec) else None
            path.mkdir(parents=True, exist_ok=True)
            write_text(path / _FILE, f"# {spec.identity}\n{spec.to_yaml()}")
            yield cls(path, moved)

    def log(self, line: str) -> None:
        """Append a line with the time of day to ``log.txt``; several workers may."""
        folders.log(self.path, line)


def _of(path: Path, spec: StudySpec) -> bool:
    """Whether the folder is of this study, or of none yet."""
    try:
        first = (path / _FILE).read_text(encoding="utf-8").splitlines()[0]
    except (FileNotFoundError, IndexError):
        return not any(path.iterdir())
    return first == f"# {spec.identity}"
