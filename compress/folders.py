"""The folder of a run, an ablation or a study: written by one process at a time, and of one recipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import InputError
from compress.outputs import check_output
from compress.store import move_aside, write_text

if TYPE_CHECKING:
    from filelock import FileLock


def hold(path: Path) -> FileLock:
    """Lock a folder, which need not be there yet, until ``release`` or the end of this process.

    Raises:
        InputError: another run of that name is going on, or nothing can be written there.
    """
    from filelock import FileLock, Timeout

    check_output(path.parent, "all runs go to", folder=True, right="work in another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{path}: another run of that name is going on; wait, or set name") from None
    return lock


@contextmanager
def held(path: Path) -> Iterator[None]:
    """The same while a ``with`` lasts."""
    lock = hold(path)
    try:
        yield
    finally:
        lock.release()


def claim(path: Path, recipe: str) -> Path | None:
    """Make it the folder of ``recipe``, the text of its ``recipe.yaml``; says where another one was moved."""
    written, moved = path / "recipe.yaml", None
    if path.exists() and (not written.is_file() or written.read_text(encoding="utf-8") != recipe):
        moved = move_aside(path)
    path.mkdir(parents=True, exist_ok=True)
    write_text(written, recipe)
    return moved


def no_run(path: Path) -> str:
    """What there is in place of the folder of a run that ended, and what would be right, in one line."""
    if not path.exists():
        return f"{path}: no such folder; give a run's, e.g. runs/quickstart"
    if not path.is_dir():
        return f"{path}: a file; give a run's folder, e.g. runs/quickstart"
    if (path / "study.yaml").is_file():
        right = f"python -m compress {path}/recipe.yaml runs its best net"
        return f"{path}: a study's folder, not a run's; {right}"
    if (path / "ablation.json").is_file():
        return f"{path}: an ablation's folder, not a run's; only report takes one"
    if (path / "artifact.json").is_file():
        return f"{path}: an exported model, not a run's folder"
    if (path / "recipe.yaml").is_file():
        return f"{path}: its run did not end; run its recipe again, and it goes on"
    if inside := sorted(path.glob("*/recipe.yaml")):
        return f"{path}: holds runs; give one of them, e.g. {inside[0].parent}"
    return f"{path}: not a run's folder: no recipe.yaml there; give one, e.g. runs/quickstart"


def model_folder(run: Path, name: str = "artifact") -> Path:
    """Where a run's final model lies, or its ``baseline``.

    Raises:
        InputError: it is not there: no such run, or one that did not end.
    """
    from compress.runtimes.folder import MANIFEST

    if not (run / name / MANIFEST).is_file():
        raise InputError(no_run(run))
    return run / name


def log(path: Path, line: str) -> None:
    """Append a line with the time of day to the folder's ``log.txt``; several processes may."""
    with (path / "log.txt").open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
