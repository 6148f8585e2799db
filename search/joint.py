"""Joint search: values of the recipe drawn beside the net, and the chain they go into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from compress.errors import InputError
from compress.explain import Problem, validate
from compress.overrides import Override, apply_overrides, parse_override
from compress.recipe import Recipe
from compress.spectree import at, nearest
from compress.yamlio import KeyPath, show
from search.ranges import Range, takes_whole

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


SEARCHED = ("train", "stages", "gate")
_WHY_NOT = {
    "data": "all candidates are compared on the same; their image size is space.image_size",
    "model": "the net is space's",
    "runtime": "all are timed in one, that of the baseline, as times of two do not compare",
    "metric": "it says which candidate is better",
}


Scalar = Annotated[bool | int | float | str | None, Field()]
Choices = Range | Annotated[tuple[Scalar, ...], Field(min_length=2)]


def suggest_values(searched: Mapping[str, Choices], trial: BaseTrial) -> dict[str, Any]:
    """A value for each key path, asked of ``trial``."""
    return {
        path: choices.suggest(trial, path)
        if isinstance(choices, Range)
        else trial.suggest_categorical(path, list(choices))
        for path, choices in searched.items()
    }


def with_values(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's content, changed. Where another kind is drawn its defaults take the place of the other's
    values; whatever else is drawn for it comes on top.

    Raises:
        InputError: there is no such place in it.
    """
    overrides = [_override(path, value) for path, value in values.items()]
    kinds = [
        Override(one.path[:-1], _of_kind(one.value, at(recipe, one.path[:-1])), one.text)
        for one in overrides
        if one.path[-1] == "kind" and at(recipe, one.path) not in (None, one.value)
    ]
    return apply_overrides(dict(recipe), [*kinds, *overrides])


def _of_kind(kind: Any, other: Mapping[str, Any]) -> dict[str, Any]:
    """By that kind's defaults, but for what a stage of any kind has."""
    return {"kind": kind, **{key: other[key] for key in ("label", "gate") if key in other}}


def typed(searched: Mapping[str, Choices], recipe: Mapping[str, Any]) -> dict[str, Choices]:
    """With the numbers of each range as its place in the recipe takes them, whole or not. What does not fit
    stays as it was, for ``problems`` to tell."""
    found, recipe = dict(searched), _with_kinds(searched, recipe)
    for path, choices in searched.items():
        with suppress(ValueError, InputError):
            found[path] = _as_taken(path, choices, recipe)
    return found


def problems(searched: Mapping[str, Choices], recipe: Mapping[str, Any]) -> Iterator[Problem]:
    """What no recipe can have of the values searched: every value of a list is tried, and of a range its
    ends and its middle; also beside values of the other keys, as some fit only beside those."""
    placed: dict[str, Choices] = {}
    for path, choices in searched.items():
        try:
            wrong = _not_searched(_keys(path), recipe) or _in_the_way(_keys(path), placed)
        except InputError as error:
            wrong = _text(error)
        if wrong:
            yield Problem(("search", path), wrong)
        else:
            placed[path] = choices
    drawn = _with_kinds(placed, recipe)
    for path, choices in placed.items():
        try:
            wrong = _refused(path, _as_taken(path, choices, drawn), placed, recipe)
        except InputError as error:
            wrong = _text(error)
        except ValueError as error:
            wrong = str(error)
        if wrong:
            yield Problem(("search", path), wrong)


def _text(error: InputError) -> str:
    """Of an override's problem, without the override."""
    return error.problems[0].split(": ", 1)[-1]


def _not_searched(keys: KeyPath, recipe: Mapping[str, Any]) -> str | None:
    """Why a study cannot search that place of a recipe."""
    first = str(keys[0])
    if first == "gate" and not recipe.get("stages"):
        return "it has no effect without stages"
    if first in SEARCHED:
        return None
    what = f"only values of {', '.join(SEARCHED[:-1])} and {SEARCHED[-1]} can be searched here"
    if first in Recipe.model_fields:
        return f"{what}; {_WHY_NOT.get(first, 'it is one for the whole study')}"
    near = nearest(first, SEARCHED)
    return what + (f"; did you mean {near!r}?" if near else "")


def _in_the_way(keys: KeyPath, searched: Iterable[str]) -> str | None:
    """Another key searched that says something about the same place; the later one would undo the other."""
    for path in searched:
        other = _keys(path)
        if keys[: len(other)] == other[: len(keys)]:
            return f"cannot stand beside {path}, which is the same place of the recipe or a part of it"
    return None


def _refused(
    path: str, choices: Choices, searched: Mapping[str, Choices], recipe: Mapping[str, Any]
) -> str | None:
    """The first value that fits in nowhere, and why; with each kind that is drawn above it."""
    if isinstance(choices, tuple) and len(set(choices)) < len(choices):  # to Optuna they are one
        return f"the list names a value twice: {', '.join(map(str, choices))}"
    keys = _keys(path)
    kinds = {
        other: _samples(searched[other])
        for other in searched
        if (there := _keys(other))[-1] == "kind" and there[:-1] == keys[: len(there) - 1] and there != keys
    }
    for value in _samples(choices):
        if wrong := _nowhere({path: value}, searched, recipe):
            return f"{value}: {wrong}"
        for other, names in kinds.items():
            for kind in names:
                if wrong := _nowhere({other: kind, path: value}, searched, recipe):
                    return f"{value} beside {other} {kind}: {wrong}"
    return None


def _nowhere(
    values: Mapping[str, Any], searched: Mapping[str, Choices], recipe: Mapping[str, Any]
) -> str | None:
    """What a recipe has against ``values`` alone; None if it takes them so, or beside values of the other
    keys: the first, the last, or one from the middle of each."""
    first = None
    listed = {path: _samples(choices) for path, choices in searched.items()}
    picks: tuple[Callable[[Any], Any], ...] = (
        lambda each: each[0],
        lambda each: each[-1],
        lambda each: each[len(each) // 2],
    )
    for beside in [{}, *({path: pick(each) for path, each in listed.items()} for pick in picks)]:
        try:
            _, wrong, _ = validate(Recipe, with_values(recipe, {**beside, **values}))
        except InputError:
            if not beside:
                raise
            continue
        if not wrong:
            return None
        first = first or f"{show(wrong[0].path)}: {wrong[0].text}"
    return first


def _with_kinds(searched: Mapping[str, Choices], recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recipe's content with the first of each kind that is drawn, for what type the keys below take."""
    for path, choices in searched.items():
        with suppress(InputError):
            if _keys(path)[-1] == "kind" and isinstance(choices, tuple):
                recipe = with_values(recipe, {path: choices[0]})
    return recipe


def _samples(choices: Choices) -> tuple[Any, ...]:
    return choices.samples() if isinstance(choices, Range) else choices


def _as_taken(path: str, choices: Choices, recipe: Mapping[str, Any]) -> Choices:
    whole = takes_whole(_keys(path), recipe) if isinstance(choices, Range) else None
    return choices.as_whole(whole) if isinstance(choices, Range) and whole is not None else choices


def _keys(path: str) -> KeyPath:
    return parse_override(f"{path}=0").path


def _override(path: str, value: Any) -> Override:
    return Override(_keys(path), value, f"{path}={value}")
