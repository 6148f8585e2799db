"""What is said of each odd file, and of the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.eda.colour import pixel_stats
from compress.data.eda.features import simple_features
from compress.data.eda.photos import Photo, read_photos
from compress.data.scan import scan_any

RGB = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def look(path: Path, why: str = "") -> Photo:
    (photo,) = read_photos(path.parent, [("train", "a", path.name)], [why])
    return photo


def test_a_plain_photo(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path)
    photo = look(path)
    assert photo == Photo("a.jpg", "train", "a", 80, 60, path.stat().st_size)
    assert photo.ratio == pytest.approx(4 / 3)


@pytest.mark.parametrize(
    ("mode", "suffix", "note"),
    [
        ("L", ".jpg", "grey"),
        ("CMYK", ".jpg", "CMYK"),
        ("P", ".png", "a palette"),
        ("RGBA", ".png", "transparent"),
        ("1", ".png", "black and white"),
        ("I;16", ".png", "16 bit or more"),
    ],
)
def test_other_kinds_of_pixels_are_named(tmp_path: Path, mode: str, suffix: str, note: str) -> None:
    path = tmp_path / f"a{suffix}"
    if mode == "I;16":
        Image.fromarray(RGB[..., 0].astype(np.uint16) * 200).save(path)
    else:
        Image.fromarray(RGB).convert(mode).save(path)
    assert look(path).notes == (note,)


def test_sizes_are_upright_and_the_turn_is_told(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    photo = look(tmp_path / "a.jpg")
    assert (photo.width, photo.height) == (60, 80)
    assert photo.notes == ("turned by its EXIF orientation (6)",)
    exif[0x0112] = 9  # no such orientation
    Image.fromarray(RGB).save(tmp_path / "b.jpg", exif=exif)
    photo = look(tmp_path / "b.jpg")
    assert (photo.width, photo.height, photo.notes) == (80, 60, ())


def test_names_that_say_another_format_animations_and_shapes(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    image.save(tmp_path / "a.jpg", "PNG")
    assert look(tmp_path / "a.jpg").notes == ("a PNG file named .jpg",)
    image.save(tmp_path / "b", "JPEG")
    assert look(tmp_path / "b").notes == ("a JPEG file without a suffix",)
    image.save(tmp_path / "c.JPEG", "JPEG")
    assert look(tmp_path / "c.JPEG").notes == ()
    image.save(tmp_path / "d.gif", save_all=True, append_images=[image.rotate(90)])
    assert "2 frames, of which the first counts" in look(tmp_path / "d.gif").notes
    image.resize((90, 20)).save(tmp_path / "e.png")
    assert look(tmp_path / "e.png").notes == ("tiny: 90 x 20", "4.5 times as long as wide")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    photo = look(tmp_path / "a.jpg")
    assert photo.bad == "not an image that Pillow can read"
    assert (photo.width, photo.bytes) == (0, 8)
    Image.fromarray(RGB).save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])  # its header is sound
    assert look(tmp_path / "b.png", "image file is truncated").bad == "image file is truncated"


def test_class_folders_alone_are_one_split(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "dog/2.jpg", "dog/deep/3.jpg", "readme.txt", ".hidden/4.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    tree = scan_any(tmp_path)
    assert tree.files == {"all": {"cat": ("cat/1.jpg",), "dog": ("dog/2.jpg", "dog/deep/3.jpg")}}
    assert tree.stray == ("readme.txt",)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    assert list(scan_any(tmp_path).files) == ["train"]
    assert scan_any(tmp_path / "nowhere").files == {}


def test_colour_is_that_of_all_pixels() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    images[:, :, :, 2] //= 3
    stats = pixel_stats(images)
    rows = np.array([5, 7, 290])
    colour = stats.of(rows)
    some = images[rows] / 255
    np.testing.assert_allclose(colour.mean, some.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(colour.std, some.std((0, 1, 2)), atol=1e-4)
    grey = (some @ [0.299, 0.587, 0.114]).mean((1, 2))
    np.testing.assert_allclose(colour.brightness, np.percentile(grey, [10, 50, 90]), atol=1e-5)
    odd = np.stack([np.full((8, 8, 3), level, dtype=np.uint8) for level in (0, 120, 255)] + [images[0]])
    odd[0, 0] = 100  # a bright line on black
    odd[2, :4] = 230
    assert [pixel_stats(odd).odd(i) for i in range(4)] == ["nearly black", "nearly one colour", "", ""]
    odd[2, :4] = 245
    assert pixel_stats(odd).odd(2) == "nearly white"


def test_simple_features_tell_colours_edges_and_places() -> None:
    base = np.full((64, 64, 3), 120, dtype=np.uint8)
    red, upright, level, corner = (base.copy() for _ in range(4))
    red[...] = (200, 20, 20)
    upright[:, 32:] = 200
    level[32:] = 200
    corner[:16, :16] = 250
    features = simple_features(np.stack([base, red, upright, level, corner]))
    assert features.shape == (5, 896)
    assert np.isfinite(features).all()
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    assert distances[np.triu_indices(5, 1)].min() > 0.3
    np.testing.assert_array_equal(features, simple_features(np.stack([base, red, upright, level, corner])))
