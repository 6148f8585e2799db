"""Which photos the crops of a folder were cut from, so that crops of others are cut again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from compress.data.crops.write import Job
from compress.errors import InputError

SOURCES = ".crops.photos.json"


def drop_outdated(out: Path, photos: Iterable[tuple[str, Path, Sequence[Job]]]) -> None:
    """Remove the crops in ``out`` of photos that are others by now, and write down which these are.

    Times alone do not tell: unpacked from an archive a photo is older than crops that were there before it.
    Done before any crop is cut, so that whatever is there later is of the photos that are written down,
    though the run be killed. Where nothing is known of a photo, as in folders of older versions, or where
    it cannot be looked at now, its crops stay.

    Args:
        photos: name, file and crops of each.

    Raises:
        InputError: what is written down cannot be read.
    """
    before = _written(out / SOURCES)
    now: dict[str, Any] = {}
    for name, path, jobs in photos:
        try:
            stat = path.stat()
        except OSError:
            if name in before:
                now[name] = before[name]
            continue
        now[name] = [stat.st_size, stat.st_mtime_ns]
        if before.get(name, now[name]) != now[name]:
            for job in jobs:
                job.file.unlink(missing_ok=True)
    if now != before:
        scratch = out / f"{SOURCES}.part"
        scratch.write_text(json.dumps(now) + "\n", encoding="utf-8")
        os.replace(scratch, out / SOURCES)


def _written(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged; delete the folder, or name a new one")
    return found
