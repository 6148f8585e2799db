"""Overlaps, against a loop over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.data.crops import boxes
from compress.data.crops.boxes import Boxes, Photo, rivals


def slow(corners: list[list[float]], photo: list[int], ids: list[int], iou: float, larger: bool) -> list[int]:
    """Every box in turn from the smallest, against every box that has stayed."""

    def area(i: int) -> float:
        left, top, right, bottom = corners[i]
        return (right - left) * (bottom - top)

    def over(i: int, j: int) -> float:
        a, b = corners[i], corners[j]
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (area(i) + area(j) - width * height)

    order = sorted(range(len(ids)), key=lambda i: (-area(i) if larger else area(i), ids[i], i))
    stayed: list[int] = []
    out = [-1] * len(ids)
    for i in order:
        for j in stayed:
            if photo[i] == photo[j] and over(i, j) >= iou:
                out[i] = j
                break
        else:
            stayed.append(i)
    return out


box = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 8), st.integers(1, 8))


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(box, st.integers(0, 2), st.integers(0, 3)), max_size=25),
    st.sampled_from([0.1, 0.25, 0.4, 0.5, 1.0]),
    st.booleans(),
)
def test_rivals_are_those_of_the_slow_loop(
    items: list[tuple[tuple[int, int, int, int], int, int]], iou: float, larger: bool
) -> None:
    corners = [[x, y, x + w, y + h] for (x, y, w, h), _, _ in items]
    photo, ids = [p for _, p, _ in items], [i for _, _, i in items]
    found = rivals(
        np.array(corners, dtype=np.float64).reshape(-1, 4), np.array(photo, dtype=np.int64),
        np.array(ids, dtype=np.int64), iou, larger,
    )  # fmt: skip
    assert found.tolist() == slow(corners, photo, ids, iou, larger)


def test_many_pairs_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 60, (120, 2))
    corners = np.concatenate([start, start + rng.uniform(5, 30, (120, 2))], axis=1)
    photo, ids = rng.integers(0, 2, 120), np.arange(120)
    whole = rivals(corners, photo, ids, 0.3)
    monkeypatch.setattr(boxes, "_PAIRS", 50)
    assert (rivals(corners, photo, ids, 0.3) == whole).all()
    assert 0 < (whole >= 0).sum() < 119


def test_exactly_the_threshold_overlaps() -> None:
    corners = np.array([[0, 0, 7, 1], [3, 0, 10, 1]], dtype=np.float64)  # 4 of 10
    photo, ids = np.zeros(2, dtype=np.int64), np.array([1, 2])
    assert rivals(corners, photo, ids, 0.4).tolist() == [-1, 0]
    assert rivals(corners, photo, ids, 0.41).tolist() == [-1, -1]


def test_one_that_has_gone_pushes_no_other_out() -> None:
    corners = np.array([[0, 0, 10, 10], [0, 0, 10, 14], [0, 0, 10, 20]], dtype=np.float64)
    photo, ids = np.zeros(3, dtype=np.int64), np.arange(3)
    assert rivals(corners, photo, ids, 0.6).tolist() == [-1, 0, -1]  # the third only overlaps the second
    assert rivals(corners, photo, ids, 0.6, keep_larger=True).tolist() == [-1, 2, -1]


def test_of_equal_boxes_the_lower_id_stays() -> None:
    corners = np.tile([[0.0, 0.0, 5.0, 5.0]], (3, 1))
    photo = np.zeros(3, dtype=np.int64)
    assert rivals(corners, photo, np.array([9, 4, 4]), 0.4).tolist() == [1, -1, 1]


def test_boxes_are_cut_at_the_edges_of_their_own_image() -> None:
    made = Boxes(
        np.arange(3), np.array([0, 1, 1]), np.zeros(3, dtype=np.int64),
        np.array([[-5, -5, 20, 300], [90, 10, 20, 20], [500, 10, 5, 5]], dtype=np.float64),
        np.zeros(3, dtype=bool), (Photo(0, "a", 100, 200), Photo(1, "b", 100, 50)), ("x",),
    )  # fmt: skip
    assert made.corners().tolist() == [[0, 0, 15, 200], [90, 10, 100, 30], [100, 10, 100, 15]]
