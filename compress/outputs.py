"""Whether something can be written where it is asked for, found before the work that would be lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compress.errors import InputError


def check_output(path: str | Path, what: str, *, folder: bool = False, right: str = "name another") -> None:
    """Leaves nothing there; only trying tells, as permissions do not bind everybody and everywhere.

    Args:
        path: a file, or with ``folder`` a folder; it and the folders above it need not be there yet.
        what: the option, argument or variable that named it.
        right: what to do where it cannot be written.

    Raises:
        InputError: it cannot be written.
    """
    path = Path(path)
    said = f"{what} {path}"
    if not folder and path.is_dir():
        raise InputError(f"{said}: a folder; name a file, e.g. {path / 'page.html'}")
    if folder and path.exists() and not path.is_dir():
        raise InputError(f"{said}: a file, where a folder is needed; {right}")
    there = path if folder else path.parent
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise InputError(f"{said}: {there} is a file, so nothing can be below it; {right}")
    try:
        with tempfile.TemporaryDirectory(prefix=".beyondnas-", dir=there):
            pass
    except OSError as error:
        raise InputError(f"{said}: nothing can be written in {there} ({error.strerror}); {right}") from None
