"""Joint search: values of the recipe drawn beside the net, and the chain they go into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from compress.errors import InputError
from compress.explain import Problem, validate
from compress.overrides import Override, apply_overrides, parse_override
from compress.recipe import Recipe, misplaced
from compress.yamlio import KeyPath, show
from search.values import FloatRange, IntRange, draw

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from compress.stages.base import Stage

_SEARCHED = ("train", "stages")  # the net's own values, such as the image size, are the space's

Scalar = Annotated[bool | int | float | str | None, Field()]
Choices = IntRange | FloatRange | Annotated[tuple[Scalar, ...], Field(min_length=2)]


def suggest_values(searched: Mapping[str, Choices], trial: BaseTrial) -> dict[str, Any]:
    """A value for each key path, asked of ``trial``."""
    return {path: draw(trial, path, choices) for path, choices in searched.items()}


def with_values(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's content, changed.

    Raises:
        InputError: there is no such place in it.
    """
    return apply_overrides(dict(recipe), [_override(path, value) for path, value in values.items()])


def problems(searched: Mapping[str, Choices], recipe: Mapping[str, Any]) -> Iterator[Problem]:
    """What no recipe can have of the values searched: every value of a list is tried, of a range its ends."""
    for path, choices in searched.items():
        try:
            if (found := _place(path)) is not None:
                yield Problem(("search", path), found)
                continue
            for value in _extremes(choices):
                _, wrong, _ = validate(Recipe, with_values(recipe, {path: value}))
                if wrong:
                    yield Problem(("search", path), f"{value}: {show(wrong[0].path)}: {wrong[0].text}")
                    break
        except InputError as error:
            yield Problem(("search", path), error.problems[0].split(": ", 1)[-1])


def out_of_order(stages: Sequence[Stage]) -> Iterator[Problem]:
    """Stages that may not stand where they do."""
    for i, text in misplaced([(type(stage), getattr(stage, "student", None)) for stage in stages]):
        yield Problem(("stages", i), text)


def _extremes(choices: Choices) -> tuple[Any, ...]:
    return choices if isinstance(choices, tuple) else (choices.low, choices.high)


def _place(path: str) -> str | None:
    first = parse_override(f"{path}=0").path[0]
    if first in _SEARCHED:
        return None
    return f"only values of {' and '.join(_SEARCHED)} can be searched here; the net is space's"


def _override(path: str, value: Any) -> Override:
    keys: KeyPath = parse_override(f"{path}=0").path
    return Override(keys, value, f"{path}={value}")
