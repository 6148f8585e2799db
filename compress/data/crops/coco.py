"""A COCO annotation file, read by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from compress.data.crops.boxes import Boxes, Photo
from compress.data.notes import few
from compress.errors import InputError


def read_boxes(path: Path) -> Boxes:
    """The boxes of a COCO file, in its order.

    Raises:
        InputError: no such file, not JSON, not COCO (no images, annotations or categories); ids that are no
            whole numbers, refer to nothing, or (of images and categories) are given twice; an image
            without a name, width or height.
    """
    data = _dataset(path)
    photos = [_photo(path, image) for image in data["images"]]
    categories = [(_id(path, "categories", c), str(c.get("name", ""))) for c in data["categories"]]
    _once(path, "image ids", [p.id for p in photos])
    _once(path, "category ids", [i for i, _ in categories])
    _once(path, "category names", [name for _, name in categories])

    annotations = data["annotations"]
    ids = np.array([_id(path, "annotations", a) for a in annotations], dtype=np.int64)
    return Boxes(
        ids,
        _rows(path, "image_id", [p.id for p in photos], annotations),
        _rows(path, "category_id", [i for i, _ in categories], annotations),
        np.array([_xywh(a.get("bbox")) for a in annotations], dtype=np.float64).reshape(-1, 4),
        np.array([bool(a.get("iscrowd")) for a in annotations], dtype=np.bool_),
        tuple(photos),
        tuple(name for _, name in categories),
    )


def _dataset(path: Path) -> dict[str, Any]:
    from pycocotools.coco import COCO

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells how long it took
            data: dict[str, Any] = COCO(str(path)).dataset
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; give a COCO annotation file") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; give a COCO annotation file") from error
    except (AssertionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a COCO file ({type(error).__name__}: {error})") from error
    wrong = [k for k in ("images", "annotations", "categories") if not _list_of_mappings(data.get(k))]
    if wrong:
        raise InputError(f"{path}: not a COCO file: no list of {', '.join(wrong)}")
    return data


def _list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _photo(path: Path, image: dict[str, Any]) -> Photo:
    number, name = _id(path, "images", image), image.get("file_name")
    width, height = image.get("width"), image.get("height")
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: image {number} has no file_name")
    if not (_number(width) and _number(height)):
        raise InputError(f"{path}: image {number} ({name}) has no width and height, found {width} x {height}")
    return Photo(number, name, int(width), int(height))


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and 1 <= value < 2**31


def _id(path: Path, where: str, item: dict[str, Any]) -> int:
    value = item.get("id")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        raise InputError(f"{path}: {where}: an id must be a whole number, found {value!r}")
    return value


def _once(path: Path, what: str, values: Iterable[object]) -> None:
    if twice := [str(v) for v, n in Counter(values).items() if n > 1]:
        raise InputError(f"{path}: {what} given more than once: {few(twice)}")


def _rows(path: Path, key: str, ids: Sequence[int], annotations: Sequence[dict[str, Any]]) -> np.ndarray:
    row = {number: i for i, number in enumerate(ids)}
    found = [row.get(a.get(key, -1), -1) if isinstance(a.get(key), int) else -1 for a in annotations]
    if lost := [str(a["id"]) for a, r in zip(annotations, found, strict=True) if r < 0]:
        raise InputError(f"{path}: {len(lost)} annotations have an unknown {key}: {few(lost)}")
    return np.array(found, dtype=np.int64)


def _xywh(value: Any) -> list[float]:
    """Four numbers, or NaN: what is wrong with a box is said where boxes are dropped."""
    try:
        numbers = [float(v) for v in value]
    except (TypeError, ValueError):
        return [np.nan] * 4
    return numbers if len(numbers) == 4 else [np.nan] * 4
