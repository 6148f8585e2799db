"""Holding out a fraction: stratified by class, groups whole, the same for the same seed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from compress.data.images import ImageSet


def hold_out(
    targets: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep and rows to hold out.

    Groups are visited in random order, and one is held out when that brings the held-out counts of its
    classes nearer to ``fraction`` of each class (squared error, every class weighing the same). A class
    that occurs in two or more groups gets one held out where that is possible; every class keeps an image.

    Args:
        targets: int N, class of each row.
        fraction: of each class to hold out, in (0, 1).
        seed: of the random order.
        groups: int N or None; rows of one number stay together. None: every row by itself.

    Returns:
        Two sorted int64 arrays, disjoint, which together hold 0..N-1.
    """
    rows = np.arange(len(targets), dtype=np.int64)
    if not len(rows):
        return rows, rows
    _, member = np.unique(rows if groups is None else groups, return_inverse=True)
    classes, target = np.unique(targets, return_inverse=True)
    total: list[int] = np.bincount(target).tolist()
    want = [fraction * n for n in total]
    held = [0] * len(classes)
    content = _content(member, target)
    owners = [0] * len(classes)  # groups in which the class occurs
    for counts in content:
        for c in counts:
            owners[c] += 1

    def gain(counts: dict[int, int]) -> float:
        return sum(n * (2 * (want[c] - held[c]) - n) / float(total[c] ** 2) for c, n in counts.items())

    def spares(counts: dict[int, int]) -> bool:
        return all(held[c] + n < total[c] for c, n in counts.items())

    out = np.zeros(len(content), dtype=bool)
    order = np.random.default_rng([seed, 0x5917]).permutation(len(content)).tolist()
    for g in order:
        if spares(content[g]) and gain(content[g]) > 1e-12:
            out[g] = True
            for c, n in content[g].items():
                held[c] += n
    for g in order:  # classes too small for their fraction: the first group that may go
        lacks = any(held[c] == 0 and owners[c] > 1 for c in content[g])
        if lacks and spares(content[g]):
            out[g] = True
            for c, n in content[g].items():
                held[c] += n
    mask = out[member]
    return rows[~mask], rows[mask]


def _content(member: np.ndarray, target: np.ndarray) -> list[dict[int, int]]:
    """Per group, how many rows it has of each class."""
    content: dict[int, dict[int, int]] = defaultdict(dict)
    pairs, counts = np.unique(np.stack([member, target], axis=1), axis=0, return_counts=True)
    for (g, c), n in zip(pairs.tolist(), counts.tolist(), strict=True):
        content[g][c] = n
    return [content[g] for g in range(len(content))]


def fingerprint(sets: Sequence[ImageSet], digests: Sequence[Sequence[str]]) -> str:
    """Hash of what the splits hold: pixels, classes, groups and order; not of where they lie.

    Args:
        sets: train, tune, val, test.
        digests: per set, ``cache.pixel_digest`` of every image.
    """
    whole = hashlib.sha256()
    for data, pixels in zip(sets, digests, strict=True):
        whole.update(repr((len(data), data.images.shape[1:], data.labels)).encode())
        whole.update(np.ascontiguousarray(data.targets, dtype="<i8").tobytes())
        whole.update(b"" if data.groups is None else np.ascontiguousarray(data.groups, dtype="<i8").tobytes())
        whole.update("".join(pixels).encode())
    return whole.hexdigest()[:32]
