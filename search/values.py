"""What a value of the space may be: one value, a list to choose from, or a range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, Field, model_validator

from compress.data.pixels import COMPETITION_OPERATIONS
from compress.models.arguments import ACTIVATIONS, ALIASES
from compress.spec import Spec

_WHOLE = Annotated[int, Field(strict=True, ge=1, lt=2**16)]  # strict: true is no number
_PART = Annotated[int, Field(strict=True, ge=0, lt=2**16)]
_NUMBER = Annotated[float, Field(strict=True, gt=0, lt=2**16)]
_FLAG = Annotated[bool, Field(strict=True)]
_WHOLES = Annotated[tuple[_WHOLE, ...], Field(min_length=1)]
_PARTS = Annotated[tuple[_PART, ...], Field(min_length=1)]
_NUMBERS = Annotated[tuple[_NUMBER, ...], Field(min_length=1)]
_FLAGS = Annotated[tuple[_FLAG, ...], Field(min_length=1)]
_NAMES = Annotated[tuple[str, ...], Field(min_length=1)]


class IntRange(Spec):
    """Whole numbers from ``low`` to ``high``, both included."""

    low: _PART
    high: _PART
    step: _WHOLE = 1

    @model_validator(mode="after")
    def _whole_steps(self) -> IntRange:
        check_range(self.low, self.high, self.step)
        return self


class FloatRange(Spec):
    """Numbers above 0 from ``low`` to ``high``, both included; of all sizes alike where ``log``."""

    low: _NUMBER
    high: _NUMBER
    step: _NUMBER | None = None
    log: bool = False

    @model_validator(mode="after")
    def _whole_steps(self) -> FloatRange:
        if self.log and self.step:
            raise ValueError("a range is either log or has a step")
        check_range(self.low, self.high, self.step)
        return self


def check_range(low: float, high: float, step: float | None) -> None:
    """
    Raises:
        ValueError: ``low`` is above ``high``, or steps from it do not meet ``high``.
    """
    if low > high:
        raise ValueError(f"low {low:g} is above high {high:g}")
    steps = (high - low) / step if step else 0
    if abs(steps - round(steps)) > 1e-6:
        raise ValueError(f"steps of {step:g} from {low:g} do not meet high {high:g}")


def _each(test: Callable[[Any], bool], text: str) -> AfterValidator:
    """Every value that can be drawn passes ``test``, and a list names none twice."""

    def check(choices: Any) -> Any:
        if isinstance(choices, tuple) and len(set(choices)) < len(choices):
            raise ValueError(f"the list names a value twice: {', '.join(map(str, choices))}")
        wrong = [value for value in ends(choices) if not test(value)]
        if wrong:
            raise ValueError(f"found {wrong[0]}; must be {text}")
        return choices

    return AfterValidator(check)


def ends(choices: Any) -> tuple[Any, ...]:
    """The values a choice is among; of a range without steps its two ends."""
    if isinstance(choices, tuple):
        return choices
    if isinstance(choices, IntRange):
        return tuple(range(choices.low, choices.high + 1, choices.step))
    if isinstance(choices, FloatRange):
        return choices.low, choices.high
    return (choices,)


Wholes = Annotated[_WHOLE | _WHOLES | IntRange, _each(lambda v: v >= 1, "at least 1")]
Operations = Annotated[
    _PART | _PARTS | IntRange,
    _each(lambda v: 0 <= v <= len(COMPETITION_OPERATIONS), f"from 0 to {len(COMPETITION_OPERATIONS)}"),
]
Batches = Annotated[_WHOLE | _WHOLES | IntRange, _each(lambda v: v >= 2, "at least 2")]
Sides = Annotated[_WHOLE | _WHOLES | IntRange, _each(lambda v: 8 <= v <= 2048, "from 8 to 2048 pixels")]
Kernels = Annotated[_WHOLE | _WHOLES | IntRange, _each(lambda v: v % 2 == 1, "odd, to have a centre")]
Strides = Annotated[_WHOLE | _WHOLES, _each(lambda v: v <= 8, "at most 8")]
Numbers = Annotated[_NUMBER | _NUMBERS | FloatRange, _each(lambda v: v > 0, "above 0")]
Expansions = Annotated[_NUMBER | _NUMBERS | FloatRange, _each(lambda v: v >= 0.5, "at least 0.5")]
Flags = Annotated[_FLAG | _FLAGS, _each(lambda v: True, "true or false")]
Activations = Annotated[
    str | _NAMES,
    _each(lambda v: v in ACTIVATIONS or v in ALIASES, f"one of {', '.join((*ACTIVATIONS, *ALIASES))}"),
]


class Chooser(Protocol):
    """Who decides: an Optuna trial, or dice (``search.dice``)."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


def draw(trial: Chooser, name: str, choices: Any) -> Any:
    """A value of ``choices``; the trial is asked only where there is a choice.

    A list is drawn as categories without order, a range as a number.
    """
    if len(ends(choices)) == 1 or (isinstance(choices, FloatRange) and choices.low == choices.high):
        return ends(choices)[0]
    if isinstance(choices, IntRange):
        return trial.suggest_int(name, choices.low, choices.high, step=choices.step)
    if isinstance(choices, FloatRange):
        value = trial.suggest_float(name, choices.low, choices.high, step=choices.step, log=choices.log)
        return round(value, 6) if choices.step else value  # 4.6, not 4.6000000000000005
    return trial.suggest_categorical(name, list(choices))


def draw_among(trial: Chooser, name: str, choices: Sequence[Any], allowed: Sequence[Any]) -> Any:
    """One of those of ``choices`` that are ``allowed``.

    Optuna refuses a categorical parameter whose choices change, and a parameter that is redrawn until
    it fits would teach the sampler values that were never built. So a restricted choice is a parameter of
    its own, named after the set: ``slot3.block(Conv|DWConv)``. There is one for each set that occurs.
    """
    if len(allowed) == 1:
        return allowed[0]
    restricted = len(allowed) < len(choices)
    return trial.suggest_categorical(
        f"{name}({'|'.join(map(str, allowed))})" if restricted else name, list(allowed)
    )
