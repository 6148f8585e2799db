"""Whose fault an error is: the system's, behind whatever it is wrapped in, or the input's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compress.errors import CompressError, InputError, os_error

FULL = OSError(28, "No space left on device")


def _plain() -> None:
    raise FULL


def _as_torch_save_does() -> None:
    try:
        raise FULL
    except OSError:
        raise RuntimeError("enforce fail at inline_container") from None


def _as_an_export_does() -> None:
    try:
        raise FULL
    except OSError as error:
        raise CompressError("export failed") from error


def _a_missing_file() -> None:
    try:
        raise FULL
    except OSError as error:
        raise InputError("teacher.pt: no such file") from error


def _beside_one() -> None:
    try:
        raise FULL
    except OSError:
        raise CompressError("no layer is left") from None


@pytest.mark.parametrize(
    ("fails", "found"),
    [
        (_plain, FULL),
        (_as_torch_save_does, FULL),
        (_as_an_export_does, FULL),
        (_a_missing_file, None),
        (_beside_one, None),
    ],
)
def test_the_systems_error(fails: Callable[[], None], found: OSError | None) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any: that is the question
        fails()
    assert os_error(caught.value) is found
