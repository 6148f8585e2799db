"""What a crop shows, whatever the photo's format and orientation."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crops_help import HEIGHT, WIDTH, scene
from PIL import Image

from compress.data.crops.boxes import Photo
from compress.data.crops.spec import CropSpec
from compress.data.crops.table import Row, write_table
from compress.data.crops.write import Box, Frame, Job, Outcome, cut, fit, pixels
from compress.data.decode import UPRIGHT

BACK = {**UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # upright to raw
PHOTO = Photo(1, "photo", WIDTH, HEIGHT)
BOX: Box = (10, 5, 34, 25)


def one(
    path: Path, box: Box = BOX, photo: Photo = PHOTO, **options: Any
) -> tuple[Outcome, np.ndarray | None]:
    """The outcome of one box, and the crop's pixels."""
    file = path.parent / "out" / "crop.jpg"
    settings = {"square": "no", "quality": 100, **options}
    (outcome,) = cut(photo, path, [Job(3, box, file)], CropSpec(**settings))
    assert outcome.row == 3
    assert list(path.parent.rglob(".*")) == []
    return outcome, np.asarray(Image.open(file), dtype=int) if file.exists() else None


def shows(crop: np.ndarray | None, left: int, top: int, width: int, height: int) -> None:
    """``crop`` is that part of the scene, but for JPEG's rounding."""
    assert crop is not None
    expected = np.asarray(scene(), dtype=int)[top : top + height, left : left + width]
    assert crop.shape == expected.shape
    assert np.abs(crop - expected).max() < 16
    assert np.abs(crop - expected).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["jpg", "png", "tif"])
def test_boxes_on_the_upright_photo(orientation: int, form: str, tmp_path: Path) -> None:
    raw = scene() if orientation == 1 else scene().transpose(BACK[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw.save(tmp_path / f"photo.{form}", exif=exif, **({"quality": 100} if form == "jpg" else {}))
    outcome, crop = one(tmp_path / f"photo.{form}")
    assert outcome == Outcome(3, wrote=True)
    shows(crop, 10, 5, 24, 20)


@pytest.mark.parametrize("orientation", range(5, 9))
def test_boxes_on_the_raw_photo_are_told_by_its_size_and_shown_upright(
    orientation: int, tmp_path: Path
) -> None:
    upright = scene(HEIGHT, WIDTH)
    raw = upright.transpose(BACK[orientation])
    assert raw.size == (WIDTH, HEIGHT)
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw.save(tmp_path / "photo.png", exif=exif)
    outcome, crop = one(tmp_path / "photo.png")
    assert outcome.wrote
    assert crop is not None
    expected = np.asarray(raw.crop((10, 5, 34, 25)).transpose(UPRIGHT[orientation]), dtype=int)
    assert np.abs(crop - expected).mean() < 2


@pytest.mark.parametrize(
    ("orientation", "left", "top"), [("auto", 10, 5), ("upright", 10, 5), ("raw", 26, 15)]
)
def test_where_sizes_do_not_tell_upright_is_meant_unless_said(
    orientation: str, left: int, top: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    scene().transpose(Image.Transpose.ROTATE_180).save(tmp_path / "photo.png", exif=exif)
    _, crop = one(tmp_path / "photo.png", orientation=orientation)
    shows(crop, left, top, 24, 20)


def test_a_reading_that_is_ruled_out_is_a_wrong_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene().save(tmp_path / "photo.png", exif=exif)
    outcome, _ = one(tmp_path / "photo.png", orientation="upright")
    assert (outcome.reason, outcome.detail) == ("size", "file 60 x 40, orientation 6; annotation 60 x 40")


def test_fit() -> None:
    photo, spec = Photo(0, "a", 1537, 2049), CropSpec()
    assert fit(photo, (1537, 2049), 1, spec) == Frame((1537, 2049), 1, (1.0, 1.0))
    assert fit(photo, (2049, 1537), 6, spec) == Frame((2049, 1537), 6, (1.0, 1.0))
    assert fit(photo, (1537, 2049), 6, spec) == Frame((1537, 2049), 1, (1.0, 1.0))  # raw
    assert fit(photo, (480, 640), 1, spec) == Frame((480, 640), 1, (480 / 1537, 640 / 2049))
    assert fit(photo, (640, 480), 8, spec) == Frame((640, 480), 8, (480 / 1537, 640 / 2049))
    assert fit(photo, (640, 480), 1, spec) is None
    assert fit(photo, (500, 640), 1, spec) is None


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        ("CMYK", "jpg", {"quality": 100}),
        ("P", "png", {}),
        ("P", "gif", {}),
        ("RGBA", "png", {}),
        ("L", "jpg", {"quality": 100}),
        ("LA", "png", {}),
        ("1", "png", {}),
        ("I;16", "png", {}),
        ("I;16", "tif", {}),
    ],
)
def test_other_pixels_become_rgb(mode: str, form: str, options: dict[str, Any], tmp_path: Path) -> None:
    if mode == "I;16":
        deep = np.asarray(scene().convert("L")).astype(np.uint16) * 256 + 77
        image, expected = Image.fromarray(deep), scene().convert("L").convert("RGB")
    else:
        image = scene().quantize(64, dither=Image.Dither.NONE) if mode == "P" else scene().convert(mode)
        expected = image.convert("RGB")
    image.save(tmp_path / f"photo.{form}", **options)
    outcome, crop = one(tmp_path / f"photo.{form}")
    assert outcome.wrote
    assert crop is not None
    assert np.abs(crop - np.asarray(expected.crop((10, 5, 34, 25)), dtype=int)).mean() < 4


def test_transparent_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (WIDTH, HEIGHT), (200, 10, 10, 0)).save(tmp_path / "photo.png")
    _, crop = one(tmp_path / "photo.png")
    assert crop is not None
    assert crop.min() > 250


def test_photos_that_cannot_be_used(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    scene().save(whole, quality=95)
    (tmp_path / "half.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    Image.fromarray(np.ones((HEIGHT, WIDTH), dtype=np.float32)).save(tmp_path / "float.tif")
    scene(WIDTH, HEIGHT - 2).save(tmp_path / "cut.png")
    found = {
        name: one(tmp_path / name)[0]
        for name in ("half.jpg", "empty.jpg", "page.jpg", "folder.jpg", "float.tif", "cut.png", "none.jpg")
    }
    assert {name: outcome.reason for name, outcome in found.items()} == {
        "half.jpg": "unreadable",
        "empty.jpg": "unreadable",
        "page.jpg": "unreadable",
        "folder.jpg": "unreadable",
        "float.tif": "unreadable",
        "cut.png": "size",
        "none.jpg": "missing",
    }
    assert "truncated" in found["half.jpg"].detail.lower()
    assert "floating-point" in found["float.tif"].detail
    assert not (tmp_path / "out").exists()


def test_margin_and_whole_pixels() -> None:
    assert pixels((10, 5, 34, 25), 0.0, (60, 40)) == (10, 5, 34, 25)
    assert pixels((10.4, 5.6, 33.2, 24.1), 0.0, (60, 40)) == (10, 5, 34, 25)
    assert pixels((10, 5, 34, 25), 0.25, (60, 40)) == (4, 0, 40, 30)
    assert pixels((10, 5, 34, 25), 1.0, (60, 40)) == (0, 0, 58, 40)
    assert pixels((59.5, 39.9, 60, 40), 0.0, (60, 40)) == (59, 39, 60, 40)
    assert pixels((20, 5, 20, 5), 0.0, (60, 40)) == (20, 5, 21, 6)  # never nothing


def test_square_padding_is_black_and_centred(tmp_path: Path) -> None:
    scene().save(tmp_path / "photo.png")
    _, crop = one(tmp_path / "photo.png", square="pad")
    assert crop is not None
    assert crop.shape == (24, 24, 3)
    shows(crop[4:20], 10, 7, 24, 16)  # next to the black, JPEG mixes the colours
    assert crop[[0, 1, 22, 23]].mean() < 12


def test_a_small_copy_has_its_boxes_scaled(tmp_path: Path) -> None:
    scene().save(tmp_path / "photo.png")
    double = Photo(1, "photo", 2 * WIDTH, 2 * HEIGHT)
    outcome, crop = one(tmp_path / "photo.png", (20, 10, 68, 50), double)
    assert outcome.wrote
    shows(crop, 10, 5, 24, 20)
    tiny, _ = one(tmp_path / "photo.png", (20, 10, 44, 50), double, quality=99)
    assert tiny == Outcome(3)  # the other box's file is there: names are the caller's business
    (tmp_path / "out" / "crop.jpg").unlink()
    tiny, _ = one(tmp_path / "photo.png", (20, 10, 44, 50), double)
    assert (tiny.reason, tiny.detail) == ("small", "12.0 px in the file")


def test_the_manifest_holds_a_name_that_is_not_utf8_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    row = Row(1, name, 2, "can", "metal", 0.0, float("nan"), 4.0, 5.0, "train", "", "unreadable", "cut")
    write_table(tmp_path / "manifest.csv", [row])
    line = r"1,caf\udce9.jpg,2,can,metal,0.0,,4.0,5.0,train,,unreadable,cut"
    assert (tmp_path / "manifest.csv").read_text().splitlines()[1] == line
