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
    """``runs/<name>``, and where the study of another file of that name was moved.

    Attributes:
        back: where this study's folder was until now, moved there for another one.
    """

    path: Path
    moved: Path | None = None
    back: Path | None = None

    @classmethod
    @contextmanager
    def open(cls, spec: StudySpec, root: Path = Path("runs")) -> Iterator[StudyFolder]:
        """Held while the study runs; what another study or run of that name left is moved aside, and what was
        moved aside of this one is moved back: a command that was refused must not cost its trials.

        Raises:
            InputError: another study or run of that name is going on.
        """
        path = root / spec.name
        with folders.held(path):  # as a run of that name does
            moved = back = None
            there = path.exists()  # not so after a kill between the two renames below
            if not there or not _of(path, spec):
                with _aside(path, spec) as back:
                    moved = _moved(path, move_aside(path)) if there else None
                    if back is not None:  # with its storage, so that a URL inside the folder is right again
                        _moved(back, back.rename(path))
            path.mkdir(parents=True, exist_ok=True)
            write_text(path / _FILE, f"{_mark(spec)}\n{spec.to_yaml()}")
            yield cls(path, moved, back)

    def is_of(self, spec: StudySpec) -> bool:
        """Whether it still is: to a worker whose parent was killed the folder is not held."""
        return _first_line(self.path) == _mark(spec)

    def log(self, line: str) -> None:
        """Append a line with the time of day to ``log.txt``; several workers may."""
        folders.log(self.path, line)


def _of(path: Path, spec: StudySpec) -> bool:
    """Whether the folder is of this study, or of none yet."""
    first = _first_line(path)
    return first == _mark(spec) if first is not None else not any(path.iterdir())


@contextmanager
def _aside(path: Path, spec: StudySpec) -> Iterator[Path | None]:
    """Where this study's folder was moved, the last used if there are several; held, as a study or run may
    have that very name."""
    found = [one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdecimal()]
    found = [one for one in found if _first_line(one) == _mark(spec)]
    if not found:
        yield None
        return
    last = max(found, key=lambda one: (one / _FILE).stat().st_mtime_ns)
    with folders.held(last):
        yield last


def _moved(old: Path, new: Path) -> Path:
    """``new``, where what was ``old`` is now: its recipes start from the nets that lie beside them."""
    for file in new.glob("recipe*.yaml"):
        text = file.read_text(encoding="utf-8")
        if (there := text.replace(f"{old}/best-", f"{new}/best-")) != text:
            write_text(file, there)
    return new


def _mark(spec: StudySpec) -> str:
    return f"# {spec.identity}"


def _first_line(path: Path) -> str | None:
    """Of the folder's study file; None where it has none, or an empty one."""
    try:
        return (path / _FILE).read_text(encoding="utf-8").splitlines()[0]
    except (FileNotFoundError, NotADirectoryError, IndexError):
        return None
