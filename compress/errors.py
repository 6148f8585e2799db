"""Errors that reach a person, each with the exit code it ends the program with."""

from __future__ import annotations

from collections.abc import Sequence


class CompressError(Exception):
    """A stage, a measurement or a training failed: exit code 1."""

    exit_code = 1


class InputError(CompressError):
    """What the user gave is wrong: exit code 2, one clear line per problem.

    Args:
        problems: one line each, naming what was found, where, and what would be right.
    """

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class NoEffectError(CompressError):
    """A stage ran and changed nothing: nothing is silent, so this is a failure."""


class BusyError(CompressError):
    """Another process holds what this needs for longer than one waits: nobody's fault, and over later."""


class DivergedError(CompressError):
    """The training loss became NaN or infinite; the message names the last good checkpoint."""


class MissingExtraError(InputError):
    """An optional package is not installed; the line says which extra brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed: pip install 'beyondnas[{extra}]'")


def os_error(error: BaseException) -> OSError | None:
    """The system's error in or behind another: a full or read-only disk, a file where a folder should be.

    torch.save wraps it in a RuntimeError. A CompressError counts only where it was raised ``from`` one: a
    line about a missing file was raised beside one, and is no fault of the system.
    """
    if isinstance(error, OSError):
        return error
    behind = error.__cause__
    if behind is None and isinstance(error, RuntimeError):
        behind = error.__context__
    wraps = isinstance(error, RuntimeError | CompressError) and not isinstance(error, InputError)
    return behind if wraps and isinstance(behind, OSError) else None


def of_system(error: OSError) -> str:
    """The system's error in one line: where, and what."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def told(error: Exception) -> str:
    """An error in one line; ours say what they mean, others begin with what they are."""
    if isinstance(error, CompressError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".removesuffix(": ")
