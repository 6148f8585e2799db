"""A run's images at other sizes: from their files as a deployed model makes them, or from arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.decode import decode
from compress.data.fast import decode_fast
from compress.data.folder import FolderData
from compress.data.images import ImageSet
from compress.data.pictures import Pictures
from compress.errors import InputError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """12 photos of each of two classes to train, 4 to test; 60 x 80, some PNG."""
    monkeypatch.setenv("BEYONDNAS_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for label in ("a", "b"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
                kind = "png" if i % 4 == 3 else "jpg"
                small.resize((80, 60), Image.Resampling.BICUBIC).save(folder / f"{i}.{kind}")
    return tmp_path / "photos"


def silent(line: str) -> None:
    pass


def load(root: Path, **more: object):
    return FolderData(root=root, image_size=24, val_fraction=0.3, tune_fraction=0.3, **more).load(0, silent)


def test_files_are_decoded_at_once_to_the_size_that_is_asked(root: Path) -> None:
    data = load(root).train
    pictures = Pictures(root, log=silent)
    for size, how, one in ((16, "reference", decode), (24, "fast", decode_fast), (40, "fast", decode_fast)):
        got = pictures.at(data, size, how)
        assert (got.images == np.stack([one(root / name, size) for name in data.names])).all()
        assert (got.names, got.labels) == (data.names, data.labels)
        assert (got.targets == data.targets).all()
    assert pictures.at(data, 24) is data
    assert pictures.at(data, 24, "reference") is data


def test_what_was_decoded_fast_stays_fast_at_another_size(root: Path) -> None:
    splits = load(root, decode="fast")
    data = splits.val
    assert (data.images == np.stack([decode_fast(root / name, 24) for name in data.names])).all()
    assert splits.fingerprint != load(root, decode="reference").fingerprint
    assert load(root, decode="auto").fingerprint == load(root, decode="reference").fingerprint
    pictures = Pictures(root, "fast", silent)
    assert pictures.at(data, 24, "fast") is data
    assert (pictures.at(data, 16).images == np.stack([decode_fast(root / n, 16) for n in data.names])).all()


def test_the_way_to_the_pixels_counts_where_these_pixels_are_the_same(root: Path) -> None:
    """Square photos of the very size: those of another size, and the deployed model's, are not the same."""
    for file in root.rglob("*.*"):
        small = Image.open(file).resize((24, 24))
        small.save(file, quality=90)
    plain = load(root)
    others = ({"fit": "pad"}, {"decode": "fast"}, {"decode": "fast", "fit": "pad"})
    ways = [load(root, **other) for other in others]
    assert all((one.train.images == plain.train.images).all() for one in ways)
    assert len({one.fingerprint for one in (plain, *ways)}) == 4
    smaller = [Pictures(root, how, silent).at(plain.train, 10).images for how in ("reference", "fast")]
    assert (smaller[0] != smaller[1]).any()


def test_arrays_are_resized_by_the_same_filter() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    data = ImageSet(pixels, np.arange(3), ("x", "y", "z"), ("x/0", "x/1", "x/2"))
    got = Pictures().at(data, 16)
    want = [np.asarray(Image.fromarray(p).resize((16, 16), Image.Resampling.BILINEAR)) for p in pixels]
    assert (got.images == np.stack(want)).all()
    assert Pictures().at(data, 24, "fast") is data  # no files: there is no other way to pixels


def test_names_that_are_no_files_below_root_are_arrays(root: Path) -> None:
    pixels = np.zeros((1, 24, 24, 3), np.uint8)
    data = ImageSet(pixels, np.zeros(1, np.int64), ("x",), ("nowhere/0.jpg",))
    pictures = Pictures(root, log=silent)
    assert not pictures.has_files(data)
    assert pictures.at(data, 16).images.shape == (1, 16, 16, 3)


def test_a_file_that_became_unreadable_is_named(root: Path) -> None:
    data = load(root).test
    (root / data.names[0]).write_bytes(b"\xff\xd8 no longer a photo")
    with pytest.raises(InputError, match=data.names[0]):
        Pictures(root, log=silent).at(data, 16)
