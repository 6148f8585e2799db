"""From bytes to a label: which way to pixels, which images, and when two ways agree."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.decode import decode
from compress.data.fast import decode_fast
from compress.data.images import ImageSet
from compress.measure.endtoend import Agreement, each_of, encoded, labeller, timeable
from compress.measure.latency import interleaved


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


def test_the_clock_times_all_images_together_though_some_take_longer() -> None:
    """By the quicker calls alone, what takes 1 to 4 ms would seem to take less than their mean."""

    def slow(milliseconds: int) -> None:
        end = time.process_time_ns() + 1_000_000 * milliseconds
        while time.process_time_ns() < end:
            pass

    runs = {"uneven": each_of([1, 1, 4], slow), "even": each_of([2], slow), "none": lambda: slow(2)}
    timed = interleaved(runs, reference="even", seconds=1.0, min_blocks=3)
    assert timed["uneven"].median_ms == pytest.approx(2, rel=0.15)
    assert timed["uneven"].ratio.median == pytest.approx(1, rel=0.1)
    assert timed["none"].ratio.median == pytest.approx(1, rel=0.1)


def test_one_call_labels_every_image_once() -> None:
    seen: list[int] = []
    each_of([3, 1, 2], seen.append)()
    assert seen == [3, 1, 2]


def test_photos_that_would_take_too_long_together_are_fewer() -> None:
    small, large = photo(0), photo(0, (2000, 3000))
    assert timeable([small] * 16) == [small] * 16
    assert len(timeable([large] * 16)) == 4
    assert timeable([large] * 3) == [large] * 3
    assert len(timeable([photo(0, (1000, 1500))] * 16)) == 10


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
