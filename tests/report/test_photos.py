"""Which photos flipped, and the thumbnails that are kept of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_samples import AFTER, BEFORE, LABELS, photos

from compress.data.images import ImageSet
from compress.report.photos import _spread, embedded, flips


def test_photos_right_before_and_wrong_after_and_the_reverse(tmp_path: Path) -> None:
    found = flips(photos(), BEFORE, AFTER, tmp_path)
    assert found["photos"] == 10
    assert found["lost"]["count"] == 3
    assert [one["name"] for one in found["lost"]["shown"]] == [f"test/x/photo{i}.jpg" for i in (1, 2, 9)]
    (won,) = found["won"]["shown"]
    assert (won["true"], won["baseline"], won["final"]) == ("paper & co", "metal", "paper & co")
    with Image.open(tmp_path / won["file"]) as image:
        assert image.size == (40, 40)
        assert np.asarray(image).mean() == np.float64(100)  # photo 5
    text = embedded(tmp_path, won["file"])
    assert text is not None
    assert text.startswith("data:image/jpeg;base64,")
    assert embedded(tmp_path, "flips/none.jpg") is None


def test_large_photos_are_shrunk_small_ones_stay_exact_and_old_ones_go(tmp_path: Path) -> None:
    flips(photos(300), BEFORE, AFTER, tmp_path)
    old = {file.name for file in (tmp_path / "flips").iterdir()}
    for name in old:
        with Image.open(tmp_path / "flips" / name) as image:
            assert max(image.size) == 112
    found = flips(photos(8), BEFORE, (*BEFORE[:-1], 0), tmp_path)
    (one,) = found["lost"]["shown"]
    assert {file.name for file in (tmp_path / "flips").iterdir()} == {Path(one["file"]).name}
    with Image.open(tmp_path / one["file"]) as image:
        assert image.format == "PNG"


@given(st.lists(st.integers(0, 4), max_size=120))
def test_at_most_24_are_shown_and_no_class_takes_the_place_of_another(truth: list[int]) -> None:
    rows = np.arange(len(truth))
    shown = _spread(rows, np.array(truth, dtype=np.int64))
    assert len(shown) == len(set(shown)) == min(24, len(truth))
    counts = {c: truth.count(c) for c in set(truth)}
    for c, n in counts.items():
        mine = sum(truth[i] == c for i in shown)
        fair = 24 // len(counts)
        assert mine >= min(n, fair)


def test_the_thumbnails_of_the_worst_photos_are_small_together(tmp_path: Path) -> None:
    """Noise compresses worst; all that is kept of it is a fifth of what a page may weigh."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 256, 256, 3), dtype=np.uint8)
    data = ImageSet(noise, np.zeros(60, np.int64), LABELS)
    found = flips(data, (0,) * 30 + (1,) * 30, (1,) * 30 + (0,) * 30, tmp_path)
    assert [len(found[side]["shown"]) for side in ("lost", "won")] == [24, 24]
    texts = [embedded(tmp_path, one["file"]) for side in ("lost", "won") for one in found[side]["shown"]]
    assert sum(len(text or "") for text in texts) < 1_000_000


def test_nothing_flipped_leaves_no_folder(tmp_path: Path) -> None:
    found = flips(photos(), BEFORE, BEFORE, tmp_path)
    assert found["lost"] == found["won"] == {"count": 0, "shown": []}
    assert not (tmp_path / "flips").exists()


def test_photos_without_names_are_numbered(tmp_path: Path) -> None:
    full = photos()
    bare = ImageSet(full.images, full.targets, LABELS)
    assert flips(bare, BEFORE, AFTER, tmp_path)["won"]["shown"][0]["name"] == "5"
