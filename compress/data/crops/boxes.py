"""COCO boxes as arrays, and which of them make a good picture of one object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_PAIRS = 1 << 21  # pairs of boxes compared at a time: about 100 MB


@dataclass(frozen=True)
class Photo:
    """An image of the annotation file; width and height are those the boxes refer to."""

    id: int
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Boxes:
    """All boxes of an annotation file, a row each, in its order.

    Attributes:
        ids: int64 N, annotation ids; real files have some twice.
        photo, category: int64 N, rows in ``photos`` and ``categories``.
        xywh: float64 N x 4 as annotated, NaN where a box is missing or no numbers.
        crowd: bool N, COCO's ``iscrowd``: one box around many objects.
    """

    ids: Ints
    photo: Ints
    category: Ints
    xywh: Floats
    crowd: NDArray[np.bool_]
    photos: tuple[Photo, ...]
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def corners(self) -> Floats:
        """float64 N x 4: left, top, right, bottom, cut at the edges of the image."""
        size = np.array([(p.width, p.height) for p in self.photos], dtype=np.float64).reshape(-1, 2)
        size = size[self.photo]
        left_top = np.clip(self.xywh[:, :2], 0, size)
        right_bottom = np.clip(self.xywh[:, :2] + self.xywh[:, 2:], 0, size)
        return np.concatenate([left_top, right_bottom], axis=1)


def rivals(corners: Floats, photo: Ints, ids: Ints, iou: float, keep_larger: bool = False) -> Ints:
    """Of two boxes of one image that overlap by ``iou`` or more, the larger goes.

    Greedy, from the smallest box on (from the largest with ``keep_larger``): a box goes when one that stays
    overlaps it; one that has gone pushes no other out. Of equal areas the lower annotation id comes first,
    then the earlier row.

    Args:
        corners: float64 N x 4, left, top, right, bottom.
        photo: int64 N; boxes of different images never meet.
        ids: int64 N, annotation ids.
        iou: intersection over union, in (0, 1].

    Returns:
        int64 N: -1 for a box that stays, else the row of the first one that pushes it out.
    """
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    order = np.lexsort((np.arange(len(ids)), ids, -area if keep_larger else area))
    rank = np.empty(len(ids), dtype=np.int64)
    rank[order] = np.arange(len(ids))

    found = [np.empty((0, 2), dtype=np.int64), *_overlapping(corners, area, photo, iou)]
    pairs = np.sort(rank[np.concatenate(found)], axis=1)  # the rank that comes first, the one that may go
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    firsts, starts = np.unique(pairs[:, 0], return_index=True)
    pushed = np.full(len(ids), -1, dtype=np.int64)  # by rank
    for first, later in zip(firsts.tolist(), np.split(pairs[:, 1], starts[1:]), strict=False):
        if pushed[first] < 0:
            pushed[later[pushed[later] < 0]] = first
    out = np.full(len(ids), -1, dtype=np.int64)
    gone = pushed >= 0
    out[order[gone]] = order[pushed[gone]]
    return out


def _overlapping(corners: Floats, area: Floats, photo: Ints, iou: float) -> Iterator[Ints]:
    """Pairs of rows, P x 2: a sweep from left to right meets only boxes that share columns of an image."""
    if not len(corners):
        return
    base, width = corners[:, 0].min(), corners[:, 2].max() - corners[:, 0].min() + 1
    left = photo * width + (corners[:, 0] - base)  # images side by side
    order = np.argsort(left, kind="stable")
    right = (photo * width + (corners[:, 2] - base))[order]
    start = np.arange(1, len(order) + 1)
    count = np.maximum(np.searchsorted(left[order], right, side="left") - start, 0)
    total = np.cumsum(count)
    begin = 0
    while begin < len(order):
        end = max(begin + 1, int(np.searchsorted(total, total[begin] - count[begin] + _PAIRS, side="right")))
        some = count[begin:end]
        one = np.repeat(np.arange(begin, end), some)
        other = np.arange(len(one)) - np.repeat(np.cumsum(some) - some, some) + start[one]
        a, b = order[one], order[other]
        low, high = np.maximum(corners[a, :2], corners[b, :2]), np.minimum(corners[a, 2:], corners[b, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        near = shared / (area[a] + area[b] - shared) >= iou
        yield np.stack([a[near], b[near]], axis=1)
        begin = end
