"""Photos that are nearly the same: by a perceptual hash, confirmed by their colours.

The hash is pHash (Zauner 2010) with 256 bits: signs of the lowest 16 x 16 cosine coefficients of the grey
64 x 64 photo against their median. Two photos are near-duplicates when at most ``LIMIT`` bits differ and
their 16 x 16 colour thumbnails correlate by ``ALIKE`` or more.

LIMIT on TrashNet (2,000 photos): all 26 pairs up to 52 bits show one object in one pose; from 54 on there are
others among them. Consecutive shots, which show one object from another side, differ in 84 bits or more and
half of them in 126, as many as photos of different classes (127): no hash tells them from strangers, and
``data.group`` has to keep them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BITS = 256
LIMIT = 52
ALIKE = 0.8
_KEEP = 8  # nearest neighbours of a photo that are looked at
_BLOCK = 1024
TURNS = {  # (quarter turns, mirrored) of the first photo of a pair
    (0, False): "",
    (0, True): "mirrored",
    (1, False): "turned by 90°",
    (2, False): "turned by 180°",
    (3, False): "turned by 270°",
    (1, True): "mirrored and turned by 90°",
    (2, True): "upside down",
    (3, True): "mirrored and turned by 270°",
}


@dataclass(frozen=True)
class Pair:
    """Two rows that are nearly the same; ``turn`` says how the first must be turned ("" for not at all)."""

    first: int
    second: int
    bits: int
    turn: str = ""


def find_pairs(images: np.ndarray, turned: bool = False) -> list[Pair]:
    """Near-duplicates among uint8 N x H x W x 3 images, nearest first.

    Args:
        turned: find mirrored and turned copies too (eight times the work).
    """
    small = np.stack([_small(image) for image in images]) if len(images) else np.zeros((0, 64, 64, 3))
    upright = _bits(small)
    best: dict[tuple[int, int], Pair] = {}
    for (quarters, mirrored), turn in TURNS.items():
        if turn and not turned:
            break
        moved = np.rot90(small, quarters, (1, 2))
        moved = moved[:, :, ::-1] if mirrored else moved
        thumbs = _thumbs(moved), _thumbs(small)
        for i, j, bits in _near(_bits(moved) if turn else upright, upright, one_way=not turn):
            key = (min(i, j), max(i, j))
            if (key not in best or bits < best[key].bits) and _alike(thumbs[0][i], thumbs[1][j]):
                best[key] = Pair(i, j, bits, turn)
    return sorted(best.values(), key=lambda pair: (pair.bits, pair.first, pair.second))


def groups_of(count: int, pairs: list[Pair]) -> np.ndarray:
    """int64 ``count``: photos joined by pairs, however indirectly, share a number."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = [p.first for p in pairs], [p.second for p in pairs]
    graph = coo_matrix((np.ones(len(pairs), dtype=bool), (rows, columns)), shape=(count, count))
    numbers: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def _small(image: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)


def _bits(small: np.ndarray) -> np.ndarray:
    """uint8 N x 64 x 64 x 3 to float32 N x 256 of 1 and -1."""
    import cv2

    side = round(BITS**0.5)
    out = np.empty((len(small), BITS), dtype=np.float32)
    for row, image in zip(out, small, strict=True):
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
        low = cv2.dct(grey)[:side, :side].ravel()
        row[:] = np.where(low > np.median(low[1:]), 1, -1)
    return out


def _near(one: np.ndarray, other: np.ndarray, one_way: bool) -> list[tuple[int, int, int]]:
    """(row of ``one``, row of ``other``, differing bits) up to LIMIT, the nearest few of every row."""
    found = []
    for start in range(0, len(one), _BLOCK):
        part = one[start : start + _BLOCK]
        bits = (BITS - part @ other.T) / 2
        rows, columns = np.arange(start, start + len(part))[:, None], np.arange(len(other))[None]
        bits[columns <= rows if one_way else columns == rows] = BITS
        for i in np.flatnonzero((bits <= LIMIT).any(axis=1)).tolist():
            near = np.flatnonzero(bits[i] <= LIMIT)
            near = near[np.argsort(bits[i, near], kind="stable")[:_KEEP]]
            found += [(start + i, int(j), int(bits[i, j])) for j in near]
    return found


def _thumbs(small: np.ndarray) -> np.ndarray:
    """float32 N x 16 x 16 x 3."""
    thumbs: np.ndarray = small.reshape(len(small), 16, 4, 16, 4, 3).mean((2, 4), dtype=np.float32)
    return thumbs


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether colours vary together; two flat thumbnails must have the same colour."""
    a, b = one - one.mean((0, 1)), other - other.mean((0, 1))
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    if size < a.size:  # less than a level of variation: nothing to correlate
        return bool(np.abs(one - other).mean() < 2)
    return float((a * b).sum()) >= ALIKE * size
