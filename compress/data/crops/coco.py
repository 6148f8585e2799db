"""A COCO annotation file, read by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.crops.boxes import Boxes, Photo
from compress.data.notes import few
from compress.errors import InputError

_LISTS = ("images", "annotations", "categories")


def read_boxes(path: Path) -> Boxes:
    """The boxes of a COCO file, in its order.

    Raises:
        InputError: no such file, not JSON, not COCO (no images, annotations or categories); a line for each
            kind of fault: entries that are no mappings; ids that are no whole numbers, refer to nothing, or
            (of images and categories) are given twice; an image without a name below the photos' folder, with
            that of another, without width or height; a category without a name, or with that of another.
    """
    data = _dataset(path)
    images, annotations, categories = (data[key] for key in _LISTS)
    return Boxes(
        np.array([a["id"] for a in annotations], dtype=np.int64),
        _rows("image_id", images, annotations),
        _rows("category_id", categories, annotations),
        np.array([_xywh(a.get("bbox")) for a in annotations], dtype=np.float64).reshape(-1, 4),
        np.array([bool(a.get("iscrowd")) for a in annotations], dtype=np.bool_),
        tuple(Photo(i["id"], i["file_name"], int(i["width"]), int(i["height"])) for i in images),
        tuple(str(c["name"]) for c in categories),
    )


def _dataset(path: Path) -> dict[str, Any]:
    from pycocotools.coco import COCO

    refused: Exception | None = None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells how long it took
            data: dict[str, Any] = COCO(str(path)).dataset
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; give a COCO annotation file") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; give a COCO annotation file") from error
    except (AssertionError, KeyError, TypeError, AttributeError) as error:  # without saying where
        refused, data = error, json.loads(path.read_bytes())
    if not isinstance(data, dict):
        found = f"a list of {len(data)}" if isinstance(data, list) else json.dumps(data)[:40]
        faults = [f"not a COCO file: found {found}; must be a mapping with {', '.join(_LISTS)}"]
    else:
        faults = list(_faults(data))
    if refused is not None and not faults:
        faults = [f"not a COCO file ({type(refused).__name__}: {refused})"]
    if faults:
        raise InputError([f"{path}: {fault}" for fault in faults]) from refused
    return data


def _faults(data: dict[str, Any]) -> Iterator[str]:
    """What is wrong, a line for each kind of fault."""
    if lacking := [key for key in _LISTS if not isinstance(data.get(key), list)]:
        yield f"not a COCO file: no list of {', '.join(lacking)}"
        return
    good = {}
    for key in _LISTS:
        items = list(enumerate(data[key]))
        if odd := [f"{key}[{i}]" for i, item in items if not isinstance(item, dict)]:
            yield f"{few(odd)}: must be a mapping with an id"
        mappings = [(i, item) for i, item in items if isinstance(item, dict)]
        if odd := [f"{key}[{i}] has {m.get('id')!r}" for i, m in mappings if not _is_id(m.get("id"))]:
            yield f"an id must be a whole number: {few(odd)}"
        good[key] = [m for _, m in mappings if _is_id(m.get("id"))]
    images, annotations, categories = good.values()
    if odd := [fault for image in images if (fault := _of_image(image))]:
        yield few(odd, 5)
    if odd := [str(c["id"]) for c in categories if c.get("name") in (None, "")]:
        yield f"categories without a name: {few(odd)}"
    yield from _twice("image ids", [i["id"] for i in images])
    # One photo under two ids would be dealt to two splits.
    names = [name for image in images if isinstance(name := image.get("file_name"), str)]
    yield from _twice("image file_names", [Path(name).as_posix() for name in names if name])
    yield from _twice("category ids", [c["id"] for c in categories])
    yield from _twice(
        "category names", [str(c["name"]) for c in categories if c.get("name") not in (None, "")]
    )
    for key, to, every in (("image_id", images, "images"), ("category_id", categories, "categories")):
        # Where an image or a category is at fault, lost references follow from it.
        rows = _rows(key, to, annotations) if len(to) == len(data[every]) else np.array([])
        lost = [
            f"{a.get(key)!r} (annotation {a['id']})" for a, r in zip(annotations, rows, strict=False) if r < 0
        ]
        if lost:
            yield f"{len(lost)} annotations have an unknown {key}: {few(lost)}"


def _of_image(image: dict[str, Any]) -> str | None:
    number, name = image["id"], image.get("file_name")
    width, height = image.get("width"), image.get("height")
    if not isinstance(name, str) or not name:
        return f"image {number} has no file_name"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return f"image {number}: file_name {name} is not below the photos' folder"
    if not (_number(width) and _number(height)):
        return f"image {number} ({name}) has no width and height, found {width} x {height}"
    return None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and 1 <= value < 2**31


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _twice(what: str, values: Iterable[object]) -> Iterator[str]:
    if twice := [str(v) for v, n in Counter(values).items() if n > 1]:
        yield f"{what} given more than once: {few(twice)}"


def _rows(key: str, to: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]]) -> np.ndarray:
    """Of each annotation the place of what it refers to, -1 where that is not there."""
    row = {item["id"]: i for i, item in enumerate(to)}
    found = [row.get(a.get(key, -1), -1) if isinstance(a.get(key), int) else -1 for a in annotations]
    return np.array(found, dtype=np.int64)


def _xywh(value: Any) -> list[float]:
    """Four numbers, or NaN: what is wrong with a box is said where boxes are dropped."""
    try:
        numbers = [float(v) for v in value]
    except (TypeError, ValueError):
        return [np.nan] * 4
    return numbers if len(numbers) == 4 else [np.nan] * 4
