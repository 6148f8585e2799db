"""A range of a recipe's value. Whether its numbers are whole is for the recipe's own key to say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import Field, model_validator

from compress.recipe import Recipe
from compress.spec import Spec
from compress.spectree import spec_at
from compress.yamlio import KeyPath
from search.values import check_range

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

_NUMBER = Annotated[float, Field(strict=True)]  # strict: true is no number


class Range(Spec):
    """Numbers from ``low`` to ``high``, both included; of all sizes alike where ``log``.

    As read they are of type float; ``as_whole`` gives those of a key that takes whole ones.
    """

    low: _NUMBER
    high: _NUMBER
    step: Annotated[_NUMBER, Field(gt=0)] | None = None
    log: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _possible(self) -> Range:
        if self.log and self.step:
            raise ValueError("a range is either log or has a step")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g}: a log range begins above 0")
        check_range(self.low, self.high, self.step)
        return self

    def as_whole(self, whole: bool) -> Range:
        """The same with numbers of that type.

        Raises:
            ValueError: one is not whole.
        """
        numbers = {"low": self.low, "high": self.high} | ({"step": self.step} if self.step else {})
        for name, value in numbers.items():
            if whole and value != int(value):
                raise ValueError(f"found {name} {value:g}; must be a whole number")
        return self.model_copy(update={name: (int if whole else float)(v) for name, v in numbers.items()})

    def suggest(self, trial: BaseTrial, name: str) -> float:
        """A number, asked of ``trial`` where there is more than one."""
        if self.low == self.high:
            return self.low
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, step=int(self.step or 1), log=self.log)
        value = trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)
        return float(f"{value:.9g}") if self.step else value  # 4.6, not 4.6000000000000005

    def samples(self) -> tuple[float, ...]:
        """Its ends, and what can be drawn halfway between them."""
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        step = 1 if isinstance(self.low, int) and not self.step else self.step
        if step:
            middle = self.low + step * round((middle - self.low) / step)
        return self.low, self.high, middle


def takes_whole(path: KeyPath, recipe: Mapping[str, Any]) -> bool | None:
    """Whether the key at ``path`` of a recipe's content takes whole numbers only.

    None where that is unknown: there is no such key, or it takes no number.
    """
    while path and isinstance(path[-1], int):  # an item of a list: the list's key says of what
        path = path[:-1]
    owner = spec_at(Recipe, recipe, path[:-1])
    field = owner.model_fields.get(str(path[-1])) if owner is not None else None
    types = _types(field.annotation) if field is not None else []
    return None if int not in types and float not in types else float not in types


def _types(annotation: Any) -> list[Any]:
    """What an annotation mentions, whatever it is wrapped in."""
    parts = get_args(annotation)
    return [one for part in parts for one in _types(part)] if parts else [annotation]
