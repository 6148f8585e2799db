"""How a command line ends: one line for each thing that went wrong, and the exit code."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence

import typer

from compress.errors import CompressError, InputError, of_system, os_error

_INTERRUPTED = "interrupted: the same command goes on from here"


def call(app: typer.Typer, args: Sequence[str], name: str, *, debug: bool = False) -> int:
    """Run ``app``; gives the exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted.

    Args:
        name: what the user typed before ``args``.
        debug: show where an error came from, too.
    """
    _escape_what_cannot_be_printed()
    try:
        code = int(app(list(args), prog_name=name, standalone_mode=False) or 0)
        return fail([_INTERRUPTED], 130) if code == 130 else code  # typer took the Ctrl-C and says nothing
    except KeyboardInterrupt:
        return fail([_INTERRUPTED], 130)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return fail(*_told(error))


def fail(lines: Sequence[str], code: int) -> int:
    """Print ``lines`` as errors and give ``code``."""
    for line in lines:
        print(line, file=sys.stderr)
    return code


def _escape_what_cannot_be_printed() -> None:
    """Names of files need not be UTF-8: printed as they are, the first such one would end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _told(error: Exception) -> tuple[Sequence[str], int]:
    if isinstance(error, InputError):
        return error.problems, error.exit_code
    if isinstance(error, CompressError):
        return [f"error: {error}"], error.exit_code
    if hasattr(error, "format_message"):  # what click says of a wrong command line
        return [error.format_message()], 2
    if type(error).__name__ == "Abort":
        return [_INTERRUPTED], 130
    if (failed := os_error(error)) is not None:
        return [f"error: {of_system(failed)}"], 1
    return [f"internal error, please report: {type(error).__name__}: {error} (--debug shows where)"], 1
