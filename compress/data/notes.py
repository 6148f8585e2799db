"""Lines for the log and the report: what is odd about a data set, though it can be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from compress.data.images import ImageSet

_SPLITS = ("train", "tune", "val", "test")


def few(names: Iterable[str], most: int = 10) -> str:
    """The first of ``names``, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def absent(sets: Sequence[ImageSet]) -> list[str]:
    """Classes that tune, val or test cannot score; ``sets`` are train, tune, val, test."""
    labels = sets[0].labels
    counts = [np.bincount(data.targets, minlength=len(labels)).tolist() for data in sets]
    lines = []
    for i, label in enumerate(labels):
        lacks = [split for split, count in zip(_SPLITS, counts, strict=True) if count[i] == 0]
        if lacks:
            images = "1 image" if counts[0][i] == 1 else f"{counts[0][i]} images"
            lines.append(
                f"class {label!r} has {images} in train and none in {', '.join(lacks)}: "
                "macro F1 there counts it, as 0, only when it is predicted"
            )
    return lines


def repeated(digests: Sequence[Sequence[str]]) -> list[str]:
    """Images of val or test whose very pixels are in train or tune; ``digests`` as for ``fingerprint``."""
    learnt = {d for some in digests[:2] for d in some}
    val, test = (sum(d in learnt for d in some) for some in digests[2:])
    if not val + test:
        return []
    return [f"{val} images of val and {test} of test occur in train too, pixel for pixel"]


def straddling(sets: Sequence[ImageSet]) -> list[str]:
    """Groups that lie in train/ as well as in val/ or test/, as the folders were given."""
    train, tune, val, test = (set() if s.groups is None else set(s.groups.tolist()) for s in sets)
    learnt = train | tune
    if not learnt & (val | test):
        return []
    return [
        f"{len(learnt & val)} groups of val and {len(learnt & test)} of test have photos in train too: "
        "where the numbers run through both, near-duplicates leak into the score"
    ]
