"""``--set a.b[0].c=value``: changing any value of a recipe from the command line."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from compress import yamlio
from compress.errors import InputError
from compress.yamlio import KeyPath, show

Absent = Callable[[dict[str, Any], KeyPath], dict[str, Any]]

_KEY = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+)\]|\.(\d+)")


@dataclass(frozen=True)
class Override:
    """One ``--set``: where, what, and the text it was given as."""

    path: KeyPath
    value: Any
    text: str

    def __str__(self) -> str:
        return f"--set {self.text}"


def parse_override(text: str) -> Override:
    """``stages[0].target=0.3``; the value is YAML.

    Raises:
        InputError: no ``=``, a malformed path, or a value that is not YAML.
    """
    left, sign, right = text.partition("=")
    left = left.strip()
    path: KeyPath = ()
    end = 0
    while (found := _KEY.match(left, end)) and (found.start() > 0 or not left.startswith(".")):
        name, index, dotted = found.groups()
        path, end = (*path, name or int(index or dotted)), found.end()
    if not sign or end != len(left) or not path or isinstance(path[0], int):
        raise InputError(f"--set {text}: must be key.path=value, as in stages[0].target=0.3")
    return Override(path, yamlio.scalar(right, f"--set {text}: value"), text)


def apply_overrides(
    data: dict[str, Any],
    overrides: Iterable[str | Override],
    absent: Absent = lambda data, path: {},
) -> dict[str, Any]:
    """A changed copy of ``data``, the overrides applied in their order.

    ``absent(data, path)`` gives the mapping to start from where a section is not in ``data``.

    Raises:
        InputError: one line for each override that cannot be applied; whether the keys are
            valid is for the recipe to say.
    """
    data = copy.deepcopy(data)
    problems: list[str] = []
    for one in overrides:
        try:
            _apply(data, parse_override(one) if isinstance(one, str) else one, absent)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return data


def _apply(data: dict[str, Any], override: Override, absent: Absent) -> None:
    here: Any = data
    given = True
    for i, key in enumerate(override.path):
        where = show(override.path[:i])
        if isinstance(key, int):
            if not given:
                raise InputError(
                    f"{override}: there is no {show(override.path[: i + 1])}, as {where} is not given; "
                    "a list is given whole first, as in --set 'stages=[{kind: prune}]'"
                )
            if not isinstance(here, list):
                raise InputError(f"{override}: {where} is not a list")
            if key >= len(here):
                last = f"the last is {where}[{len(here) - 1}]" if here else "it is empty"
                raise InputError(f"{override}: there is no {show(override.path[: i + 1])}; {last}")
        elif isinstance(here, list):
            raise InputError(f"{override}: {where} is a list: {where}[0].{key} is its first item's")
        if i == len(override.path) - 1:
            here[key] = copy.deepcopy(override.value)
        else:
            below = here[key] if isinstance(key, int) else here.get(key)
            given = below is not None
            if not isinstance(below, dict | list):  # absent, null, or a short form such as `gate: better`
                below = here[key] = absent(data, override.path[: i + 1])
            here = below
