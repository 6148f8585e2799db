"""What a study's file names, as it was when the study began: a path alone says nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.inputs import content_of
from compress.measure.endtoend import DECODERS
from compress.measure.machine import package_version

if TYPE_CHECKING:
    from compress.data.images import Splits
    from search.spec import StudySpec


def origins(spec: StudySpec, splits: Splits) -> dict[str, Any]:
    """Digests of the nets that ``baseline`` and ``stages`` name, and of the images, as of now."""
    return {
        "baseline": content_of(spec.baseline),
        "stages": content_of(spec.stages),
        "data": splits.fingerprint,
        "decoders": [package_version(name) for name in DECODERS],
    }


def check(began: Mapping[str, Any], now: Mapping[str, Any], spec: StudySpec) -> None:
    """Refuse to measure later trials of something else than earlier ones.

    Images are compared only where the packages that decode them are those of then: others may give other
    pixels of equal files, and an upgrade is no reason to refuse.

    Raises:
        InputError: a line for each thing that changed since the study began.
    """
    changed = [
        f"{part}: {path}"
        for part in ("baseline", "stages")
        for path in sorted({*began[part], *now[part]})
        if began[part].get(path) != now[part].get(path)
    ]
    if began["data"] != now["data"] and began["decoders"] == now["decoders"]:
        where = getattr(spec.data, "root", None)
        changed.append(f"data: what is below {where}" if where else "data: its images")
    if changed:
        right = "put it back as it was, or begin another study: set name"
        raise InputError([f"{one} has changed since the study began; {right}" for one in changed])
