"""What is wrong with an ``ablation`` section, given the stages it speaks of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from compress.ablation.spec import AblationSpec
from compress.errors import InputError
from compress.explain import quote, validate
from compress.overrides import Override, apply_overrides, parse_override
from compress.spectree import nearest
from compress.stages.base import Stage
from compress.yamlio import KeyPath

_FORM = "must be a key of a stage, as in stages[0].target"
_UNSEEN = ("kind", "label", "gate", "retry")  # they change no net


def wrong(
    spec: AblationSpec, stages: Sequence[Stage | None], runtimes: Sequence[str]
) -> Iterator[tuple[KeyPath, str]]:
    """Path below ``ablation`` and reason of each mistake; a stage that is None is wrong itself.

    Args:
        runtimes: the kinds there are.
    """
    for i, kind in enumerate(spec.runtimes):
        if kind not in runtimes:
            near = nearest(kind, runtimes)
            hint = f"; did you mean {near!r}?" if near else ""
            yield ("runtimes", i), f"found {quote(kind)}; must be one of {', '.join(runtimes)}{hint}"
    for key, values in spec.sweep.items():
        text = _wrong_key(key, len(stages))
        if text or not values:
            yield ("sweep", key), text or "found no value to try"
            continue
        stage = stages[index_of(key)]
        for i, value in enumerate(values):
            if stage is not None and (problem := _wrong_value(stage, key, value)):
                yield ("sweep", key, i), problem


def index_of(key: str) -> int:
    """The stage that a key of ``sweep`` belongs to."""
    return int(parse_override(f"{key}=0").path[1])


def with_values(stage: Stage, values: dict[str, Any]) -> Stage:
    """The stage with values at keys such as ``stages[0].target``."""
    return type(stage).model_validate(_changed(stage, values))


def _changed(stage: Stage, values: dict[str, Any]) -> dict[str, Any]:
    changes = []
    for key, value in values.items():
        path = parse_override(f"{key}=0").path
        changes.append(Override(path[2:], value, f"{key}={quote(value)}"))
    return apply_overrides(stage.canonical(), changes)


def _wrong_key(key: str, stages: int) -> str | None:
    try:
        path = parse_override(f"{key}=0").path
    except InputError:
        return f"found {quote(key)}; {_FORM}"
    if path[0] != "stages" or len(path) < 3 or not isinstance(path[1], int):
        return f"found {quote(key)}; {_FORM}"
    if path[1] >= stages:
        return f"there is no stages[{path[1]}]" + (f"; the last is stages[{stages - 1}]" if stages else "")
    if path[2] in _UNSEEN:
        return f"{path[2]} changes no net: there is nothing to sweep"
    return None


def _wrong_value(stage: Stage, key: str, value: Any) -> str | None:
    try:
        alone = stage.model_copy(update={"retry": None})  # its values go with the recipe's own strength
        _, problems, _ = validate(type(stage), _changed(alone, {key: value}))
    except InputError as error:
        return str(error)
    return problems[0].text if problems else None
