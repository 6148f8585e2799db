"""From bytes to a label: which way to pixels, which images, and when two ways agree."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.decode import decode
from compress.data.fast import decode_fast
from compress.data.images import ImageSet
from compress.measure.endtoend import Agreement, encoded, in_turn, labeller


def photo(seed: int, size: tuple[int, int] = (60, 80)) -> bytes:
    rng = np.random.default_rng(seed)
    out = io.BytesIO()
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    small.resize((size[1], size[0]), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


@pytest.mark.parametrize(("how", "pixels"), [("reference", decode), ("fast", decode_fast)])
def test_a_labeller_decodes_as_it_is_told_and_takes_the_largest_logit(how, pixels) -> None:
    seen = []

    def run(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.array([[0.1, 3.0, -1.0]], np.float32)

    image = photo(0)
    label = labeller(run, 24, how)(image)
    assert label == 1
    assert type(label) is int
    assert seen[0].shape == (1, 24, 24, 3)
    assert (seen[0][0] == pixels(image, 24)).all()


def test_the_two_ways_differ_on_these_photos() -> None:
    """Else the test above could not tell one from the other."""
    assert (decode(photo(0), 24) != decode_fast(photo(0), 24)).any()


def test_every_image_gets_its_turn_whatever_the_number_of_calls_at_a_time() -> None:
    images = [bytes([i]) for i in range(16)]
    for stride in (1, 4, 8, 16):  # calls of a section, of which the first is not counted
        call = in_turn(images, lambda image: image[0])
        seen = [call() for _ in range(800)]
        counted = Counter(label for i, label in enumerate(seen) if stride == 1 or i % stride)
        assert len(counted) == 16
        assert min(counted.values()) > 0.4 * sum(counted.values()) / 16


def test_two_runs_see_the_images_in_the_same_order() -> None:
    images = [bytes([i]) for i in range(5)]
    calls = [in_turn(images, lambda image: image[0]) for _ in range(2)]
    assert [calls[0]() for _ in range(50)] == [calls[1]() for _ in range(50)]


def test_files_are_taken_as_they_are_and_arrays_become_jpegs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    names = tuple(f"a/{i}.jpg" for i in range(3))
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(photo(i))
    pixels = np.stack([decode(photo(i), 32) for i in range(3)])
    data = ImageSet(pixels, np.zeros(3, np.int64), ("x",), names)
    assert encoded(data, tmp_path) == [photo(i) for i in range(3)]
    assert encoded(data, tmp_path, count=2) == [photo(0), photo(2)]
    made = encoded(data, None)
    for image, want in zip(made, pixels, strict=True):
        assert image[:2] == b"\xff\xd8"
        assert np.abs(decode(image, 32).astype(int) - want).mean() < 9


def labels(n: int, wrong: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, a reference path's labels (80 % right), and a fast path's that differ in ``wrong`` images,
    in as many for the better as for the worse."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, n)
    reference = np.where(rng.random(n) < 0.8, targets, (targets + 1) % 4)
    fast = reference.copy()
    worse = np.flatnonzero(reference == targets)[: wrong // 2]
    better = np.flatnonzero(reference != targets)[: wrong - wrong // 2]
    fast[worse] = (targets[worse] + 1) % 4
    fast[better] = targets[better]
    return targets, reference, fast


def test_agreement_wants_98_percent_of_the_labels() -> None:
    fine, poor = Agreement.of(*labels(300, 6)), Agreement.of(*labels(300, 7))
    assert fine.same == 0.98
    assert poor.same < 0.98
    assert fine.ok
    assert not poor.ok
    assert str(poor).startswith("fast decoding gives 97.7% of 300 val images the same label, F1 ")
    assert str(poor).endswith(": not used")
    assert str(fine).endswith(": used")


def test_agreement_wants_no_difference_in_f1_that_is_more_than_chance() -> None:
    targets, reference, fast = labels(3000, 0)
    right = np.flatnonzero((targets == reference) & (targets == 0))[:50]
    fast[right] = 1  # 1.7 % of the labels, all of them for the worse
    found = Agreement.of(targets, reference, fast)
    assert found.same > 0.98
    assert found.f1_difference[1] < 0
    assert not found.ok


def test_the_same_labels_agree() -> None:
    targets, reference, _ = labels(50, 0)
    found = Agreement.of(targets, reference, reference)
    assert (found.same, found.f1_difference, found.ok) == (1.0, (0.0, 0.0), True)
