"""What an argument of a block may be, and the line that says so when it is something else."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The classes of torch.nn.modules.activation that map a tensor to one of the same shape and need no
# argument (a test keeps the list equal to torch's), and the format's own spellings.
ACTIVATIONS = (
    *("CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU"),
    *("LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid"),
    *("Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink"),
)
ALIASES = {"HardSwish": "Hardswish", "HardSigmoid": "Hardsigmoid", "Swish": "SiLU"}


@dataclass(frozen=True)
class Rule:
    """``read`` turns a YAML value into what the modules take, or raises ValueError; ``text``
    completes "must be ..."."""

    text: str
    read: Callable[[Any], Any]


REQUIRED = object()


@dataclass(frozen=True)
class Arg:
    """One argument of a block, by position."""

    name: str
    rule: Rule
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def __str__(self) -> str:
        return self.name if self.required else f"{self.name}={show(self.default)}"


def read_args(args: Sequence[Arg], values: Sequence[Any]) -> tuple[dict[str, Any], list[str]]:
    """Values by name, those left out or null at their default, and one line for each wrong one."""
    found: dict[str, Any] = {}
    problems = []
    for i, arg in enumerate(args):
        value = values[i] if i < len(values) else None
        if value is None and not arg.required and (i >= len(values) or arg.rule is not ACTIVATION):
            found[arg.name] = arg.default
            continue
        try:
            found[arg.name] = arg.rule.read(value)
        except ValueError as error:
            hint = " (YAML writes null)" if value == "None" else error
            problems.append(f"{arg.name} must be {arg.rule.text}, found {show(value)}{hint}")
    return found, problems


def whole(value: Any, least: int = 1) -> int:
    """A whole number from ``least``; 3.0 counts as 3, true does not count as 1."""
    if number(value) != int(value) or value < least:
        raise ValueError
    return int(value)


def number(value: Any) -> float:
    """A number, not infinite nor close to it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise ValueError
    return value


def positive(value: Any) -> float:
    """A number above 0."""
    if number(value) <= 0:
        raise ValueError
    return number(value)


def _odd(value: Any) -> int:
    if whole(value) % 2 == 0:
        raise ValueError
    return whole(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise ValueError
    return bool(value)


def _false(value: Any) -> bool:
    if _flag(value):
        raise ValueError
    return False


def _padding(value: Any) -> int | None:
    """None: kernel // 2. A bare 0 is null in this format; ``[0]`` is how its files say zero."""
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise ValueError
        return whole(value[0], 0)
    return whole(value, 0) or None


def _pair(least: int) -> Callable[[Any], tuple[int, int]]:
    def read(value: Any) -> tuple[int, int]:
        if isinstance(value, (list, tuple)):
            if len(value) not in (1, 2):
                raise ValueError
            return whole(value[0], least), whole(value[-1], least)
        return whole(value, least), whole(value, least)

    return read


def _activation(value: Any) -> str | None:
    if value is None or value == "Identity":
        return None
    if not isinstance(value, str):
        raise ValueError
    name = ALIASES.get(value, value)
    if name not in ACTIVATIONS:
        raise ValueError(nearest(value, (*ACTIVATIONS, *ALIASES)))
    return name


def _probability(value: Any) -> float:
    if not 0 <= number(value) <= 1:
        raise ValueError
    return number(value)


COUNT = Rule("a whole number above 0", whole)
ODD = Rule("an odd whole number above 0", _odd)
CHANNELS = Rule("a number above 0", positive)
FACTOR = Rule("a number above 0", positive)
FLAG = Rule("true, false, 1 or 0", _flag)
FALSE = Rule("false", _false)
PADDING = Rule("null, a whole number from 0, or a list of one", _padding)
PAIR = Rule("a whole number above 0, or two", _pair(1))
POOL_PADDING = Rule("a whole number from 0, or two", lambda v: v if isinstance(v, bool) else _pair(0)(v))
PROBABILITY = Rule("a number from 0 to 1", _probability)
ACTIVATION = Rule(
    "null or the name of an activation of torch.nn, HardSwish, HardSigmoid or Swish", _activation
)


def nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """`` (nearest: Hardswish)``, or nothing when no known name is near."""
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(str(name).lower(), list(lower), n=1, cutoff=0.6)
    return f" (nearest: {lower[close[0]]})" if close else ""


def show(value: Any) -> str:
    """A value as it stands in YAML, in one line of at most 120 characters."""
    text = _show(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _show(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        if isinstance(value, tuple) and len(set(value)) == 1:
            return _show(value[0])
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_show(v)}" for key, v in value.items()) + "}"
    return str(value) if isinstance(value, str) else repr(value)
