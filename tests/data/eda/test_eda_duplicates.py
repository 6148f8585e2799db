"""Near-duplicates: found when planted, not found where there are none, and as a slow search finds them."""

from __future__ import annotations

import io
import re
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from photos import KINDS, draw
from PIL import Image

from compress.data.cache import decoded
from compress.data.eda import duplicates
from compress.data.eda.duplicates import ALIKE, BITS, LIMIT, TURNS, Pair, find_pairs, groups_of
from compress.data.scan import scan

SIDE = 96


def square(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([square(draw(KINDS[i % 3], rng)) for i in range(120)])


def encoded(image: np.ndarray, quality: int) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return np.array(Image.open(out))


def scaled(image: np.ndarray) -> np.ndarray:
    return square(cv2.resize(image, (60, 60), interpolation=cv2.INTER_AREA))


CHANGES = {
    "same": lambda image: image,
    "encoded": lambda image: encoded(image, 25),
    "scaled": scaled,
    "brighter": lambda image: np.clip(image * 1.15 + 12, 0, 255).astype(np.uint8),
    "cropped": lambda image: square(image[2:-1, 1:-2]),
    "noisy": lambda image: np.clip(image + np.random.default_rng(1).normal(0, 8, image.shape), 0, 255).astype(
        np.uint8
    ),
}


def slow_hash(image: np.ndarray) -> np.ndarray:
    """The definition, with scipy's cosine transform instead of OpenCV's."""
    from scipy.fft import dctn

    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    low = dctn(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(float), norm="ortho")[:16, :16].ravel()
    return low > np.median(low[1:])


def slow_pairs(images: np.ndarray) -> set[tuple[int, int]]:
    hashes = [slow_hash(image) for image in images]
    thumbs = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(float) for image in images]
    found = set()
    for i, j in combinations(range(len(images)), 2):
        a, b = thumbs[i] - thumbs[i].mean((0, 1)), thumbs[j] - thumbs[j].mean((0, 1))
        if (hashes[i] != hashes[j]).sum() <= LIMIT and np.corrcoef(a.ravel(), b.ravel())[0, 1] >= ALIKE:
            found.add((i, j))
    return found


def test_there_are_none_among_photos_that_differ(images: np.ndarray) -> None:
    assert find_pairs(images) == []
    assert find_pairs(images, turned=True) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(images: np.ndarray, change: str) -> None:
    copies = np.stack([CHANGES[change](image) for image in images[:20]])
    pairs = find_pairs(np.concatenate([images, copies]))
    assert [(pair.first, pair.second) for pair in sorted(pairs, key=lambda p: p.first)] == [
        (i, 120 + i) for i in range(20)
    ]
    assert [pair.bits for pair in pairs] == sorted(pair.bits for pair in pairs)
    assert all(pair.turn == "" for pair in pairs)


def test_agrees_with_a_slow_search_whatever_the_blocks(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = np.concatenate([images[:40], [CHANGES["encoded"](x) for x in images[10:30]], images[35:40]])
    want = slow_pairs(mixed)
    assert len(want) == 25
    for block in (7, 64, 1024):
        monkeypatch.setattr(duplicates, "_BLOCK", block)
        assert {(p.first, p.second) for p in find_pairs(mixed)} == want


@pytest.mark.parametrize(("quarters", "mirrored"), [turn for turn in TURNS if turn != (0, False)])
def test_turned_copies_are_found_on_request(images: np.ndarray, quarters: int, mirrored: bool) -> None:
    original = images[5]
    # the first photo, turned so, is the second
    copy = np.rot90(original, quarters)
    copy = copy[:, ::-1] if mirrored else copy
    both = np.concatenate([images[:8], copy[None]])
    assert find_pairs(both) == []
    (pair,) = find_pairs(both, turned=True)
    assert {pair.first, pair.second} == {5, 8}
    back = {  # how the copy must be turned to be the original, if it comes first
        "turned by 90°": "turned by 270°",
        "turned by 270°": "turned by 90°",
    }
    turn = TURNS[quarters, mirrored]
    assert pair.turn == (turn if pair.first == 5 else back.get(turn, turn))


def test_flat_photos_are_compared_by_their_colour() -> None:
    colours = [(10, 10, 10), (11, 10, 10), (200, 60, 60), (60, 200, 60)]
    flat = np.stack([np.full((SIDE, SIDE, 3), c, dtype=np.uint8) for c in colours])
    assert [(p.first, p.second) for p in find_pairs(flat)] == [(0, 1)]


def test_many_copies_of_one_photo_are_one_group(images: np.ndarray) -> None:
    many = np.concatenate([images[:3], np.repeat(images[7:8], 50, 0)])
    pairs = find_pairs(many)
    assert len(pairs) <= 8 * 50  # not all of the 1,225
    numbers = groups_of(len(many), pairs)
    assert len(set(numbers.tolist())) == 4
    assert len(set(numbers[3:].tolist())) == 1


def test_groups_join_what_is_joined_by_others() -> None:
    numbers = groups_of(6, [Pair(0, 2, 1), Pair(2, 5, 3), Pair(1, 4, 0)])
    assert numbers[0] == numbers[2] == numbers[5] != numbers[1]
    assert numbers[1] == numbers[4]
    assert len(set(numbers.tolist())) == 3
    assert groups_of(3, []).tolist() == [0, 1, 2]


def test_no_photos_no_pairs() -> None:
    assert find_pairs(np.zeros((0, SIDE, SIDE, 3), dtype=np.uint8)) == []


def test_the_limit_on_trashnet(shared_data: Path, tmp_path: Path) -> None:
    """What the module says of its threshold: pairs below it are one photo twice, series are far above."""
    tree = scan(shared_data / "trashnet")
    names = [name for _, label, name in tree if label in ("glass", "metal", "paper")]
    images = decoded(tree.root, names, 96, lambda line: None).images
    pairs = {(names[p.first], names[p.second]): p.bits for p in find_pairs(images)}
    known = [
        ("glass115", "metal91"),
        ("paper451", "paper345"),
        ("metal76", "metal394"),
        ("paper40", "paper2"),
    ]
    found = {tuple(Path(name).stem for name in pair) for pair in pairs}
    assert set(known) <= found
    assert 15 <= len(found) <= 30
    bits = duplicates._bits(np.stack([duplicates._small(image) for image in images]))
    number = {name: i for i, name in enumerate(names)}
    series = []
    for name, i in number.items():
        split, label, file = name.split("/")
        following = f"{split}/{label}/{label}{int(re.findall(r'[0-9]+', file)[0]) + 1}.jpg"
        if following in number:
            series.append((BITS - bits[i] @ bits[number[following]]) / 2)
    assert len(series) > 800
    assert min(series) > LIMIT + 20
    assert np.median(series) > 120
