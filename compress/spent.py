"""What a step took when it was computed, in all the processes that did a part of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.store import Store, write_text

_BEGAN = "began.json"  # beside the unfinished work: when this process began on it, and the seconds before


@contextmanager
def spending(store: Store, key: str) -> Iterator[None]:
    """Inside, the work of ``key`` is done, under its lock; its seconds are stored before its result is."""
    work = store.work(key)
    before, began = _before(work), time.monotonic()
    write_text(work / _BEGAN, json.dumps({"before": before, "began": time.time()}))
    yield
    store.put_value("spent", key, before + time.monotonic() - began)


def seconds(store: Store, *keys: str, since: float, cached: bool) -> float:
    """Of a step: the work of ``keys``, whose last one is the step's, and what was done ``since`` that work.

    It is stored at the first call after the work, and found there by later ones (``cached``).
    """
    stored = store.value("seconds", keys[-1]) if cached else None
    if stored is None:
        stored = sum(store.value("spent", key) or 0.0 for key in keys) + time.monotonic() - since
        store.put_value("seconds", keys[-1], stored)
    return float(stored)


def _before(work: Path) -> float:
    """Seconds in the unfinished work that a killed process left: up to the last file that it wrote, since
    what it did after that is lost."""
    try:
        said = json.loads((work / _BEGAN).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return 0.0
    files = [file for file in work.rglob("*") if file.is_file() and file.name != _BEGAN]
    last = max((file.stat().st_mtime for file in files), default=0.0)
    return float(said["before"]) + max(0.0, last - float(said["began"]))
