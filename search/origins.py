"""What a study's file names, as it was when the study began: a path alone says nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.explain import validate
from compress.inputs import content_of
from compress.measure.endtoend import DECODERS
from compress.measure.machine import package_version
from compress.recipe import Recipe
from search.joint import with_values

if TYPE_CHECKING:
    from compress.data.images import Splits
    from compress.outside import Outside
    from search.spec import StudySpec

_FILES = ("baseline", "stages", "search")  # the parts whose files are compared one by one


def origins(spec: StudySpec, splits: Splits, outside: Outside | None) -> dict[str, Any]:
    """Digests of the nets that ``baseline``, ``stages`` and ``search`` name, of the model of
    ``metric.baseline``, and of the images, as of now."""
    stages = content_of(spec.stages)
    return {
        "baseline": content_of(spec.baseline),
        "stages": stages,
        "search": {file: found for file, found in _searched(spec).items() if file not in stages},
        "metric": outside.key if outside else None,
        "data": splits.fingerprint,
        "decoders": [package_version(name) for name in DECODERS],
    }


def _searched(spec: StudySpec) -> dict[str, str]:
    """Of files among the values searched, each value in its place of the stages; one that is no file, or fits
    only beside another value, says nothing."""
    found: dict[str, str] = {}
    recipe = {"name": spec.name, "stages": [stage.canonical() for stage in spec.stages]}
    for path, choices in spec.search.items():
        for value in choices if isinstance(choices, tuple) else ():
            if isinstance(value, str):
                with suppress(InputError):  # no such file: its candidate says so
                    made, _, _ = validate(Recipe, with_values(recipe, {path: value}))
                    found |= content_of(made.stages if made else ())
    return found


def check(began: Mapping[str, Any], now: Mapping[str, Any], spec: StudySpec) -> None:
    """Refuse to measure later trials of something else than earlier ones; studies of earlier versions have
    noted less.

    Images are compared only where the packages that decode them are those of then: others may give other
    pixels of equal files, and an upgrade is no reason to refuse.

    Raises:
        InputError: a line for each thing that changed since the study began.
    """
    changed = [
        f"{part}: {path}"
        for part in _FILES
        if part in began
        for path in sorted({*began[part], *now[part]})
        if began[part].get(path) != now[part].get(path)
    ]
    if began.get("metric", now["metric"]) != now["metric"]:
        changed.append(f"metric.baseline: {spec.metric.baseline}")
    if began["data"] != now["data"] and began["decoders"] == now["decoders"]:
        where = getattr(spec.data, "root", None)
        changed.append(f"data: what is below {where}" if where else "data: its images")
    if changed:
        right = "put it back as it was, or begin another study: set name"
        raise InputError([f"{one} has changed since the study began; {right}" for one in changed])
