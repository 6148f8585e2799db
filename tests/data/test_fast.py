"""The fast way to pixels: near the reference on what it does itself, the same on all else."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compress.data.decode import BadImageError, decode
from compress.data.fast import How, decode_fast, decoder, is_fast, is_padded, way


def jpeg(pixels: np.ndarray | Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, "JPEG", **{"quality": 92, **options})
    return out.getvalue()


def scene(height: int = 192, width: int = 256) -> np.ndarray:
    """Smooth, coloured, and different in its four corners."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([255 * x, 255 * y, 127 + 60 * np.sin(5 * x * y)], axis=2).astype(np.uint8)


def off(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.fixture
def by_turbo(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The shapes libjpeg-turbo was asked for, so that a test knows which way an image took."""
    asked: list[tuple[int, int]] = []
    real = simplejpeg.decode_jpeg

    def watched(data: bytes, space: str, **size: int) -> np.ndarray:
        asked.append((size["min_height"], size["min_width"]))
        out: np.ndarray = real(data, space, **size)
        assert out.shape[:2] == asked[-1]  # the scale that was meant, no other
        return out

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    return asked


@pytest.mark.parametrize(
    ("height", "width", "size", "decoded"),
    [
        (192, 256, 96, (96, 128)),
        (192, 256, 97, (192, 256)),
        (384, 512, 96, (96, 128)),
        (1000, 801, 99, (125, 101)),
        (1000, 801, 50, (125, 101)),
        (150, 1800, 64, (75, 900)),
        (64, 64, 64, (64, 64)),
    ],
)
def test_the_smallest_quick_scale_that_is_not_below_the_size(
    by_turbo: list[tuple[int, int]], height: int, width: int, size: int, decoded: tuple[int, int]
) -> None:
    got = decode_fast(jpeg(scene(height, width)), size)
    assert by_turbo == [decoded]
    assert got.shape == (size, size, 3)
    assert got.dtype == np.uint8
    assert off(got, decode(jpeg(scene(height, width)), size)) < 1.0


def test_pixels_are_the_references_own_where_nothing_is_scaled() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (100, 130, 3), dtype=np.uint8)
    assert (decode_fast(jpeg(noise), 64) == decode(jpeg(noise), 64)).all()


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"restart_marker_rows": 1}])
def test_grey_and_every_subsampling_are_near_the_reference(options: dict[str, int]) -> None:
    for image in (Image.fromarray(scene()), Image.fromarray(scene()).convert("L")):
        data = jpeg(image, **options)
        assert off(decode_fast(data, 90), decode(data, 90)) < 1.0


def test_jpegs_that_hold_rgb_itself(by_turbo: list[tuple[int, int]]) -> None:
    data = jpeg(scene(), keep_rgb=True)
    assert off(decode_fast(data, 90), decode(data, 90)) < 1.0
    assert by_turbo == [(96, 128)]


def _with_xmp(orientation: int) -> bytes:
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    return jpeg(scene(), xmp=xmp)


def _with_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(scene(), exif=exif)


def _exif_after_the_frame(orientation: int) -> bytes:
    """The same segments, APP1 moved behind SOF0: unusual, and Pillow heeds it."""
    data = _with_exif(orientation)
    start = data.index(b"\xff\xe1")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    app1, rest = data[start:end], data[:start] + data[end:]
    frame = rest.index(b"\xff\xc0")
    behind = frame + 2 + int.from_bytes(rest[frame + 2 : frame + 4], "big")
    return rest[:behind] + app1 + rest[behind:]


@pytest.mark.parametrize("make", [_with_exif, _with_xmp, _exif_after_the_frame])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos_come_out_as_before(make, orientation: int, by_turbo: list[tuple[int, int]]) -> None:
    data = make(orientation)
    assert (decode_fast(data, 90) == decode(data, 90)).all() or orientation == 1
    assert len(by_turbo) == (orientation == 1)
    assert off(decode_fast(data, 90), decode(data, 90)) < 1.0


def _others() -> dict[str, bytes]:
    image = Image.fromarray(scene())
    made = {"progressive": jpeg(image, progressive=True), "cmyk": jpeg(image.convert("CMYK"))}
    made["small"] = jpeg(scene(60, 200))
    for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF"):
        out = io.BytesIO()
        image.save(out, kind)
        made[kind] = out.getvalue()
    return made


OTHERS = _others()


@pytest.mark.parametrize("kind", OTHERS)
def test_all_other_files_take_the_reference_path(kind: str, by_turbo: list[tuple[int, int]]) -> None:
    assert (decode_fast(OTHERS[kind], 90) == decode(OTHERS[kind], 90)).all()
    assert by_turbo == []


def test_a_photo_larger_than_pillow_allows_is_refused_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(scene())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImageError, match="DecompressionBomb"):
        decode_fast(data, 90)


def _outcome(how, data: bytes) -> np.ndarray | str:
    try:
        out: np.ndarray = how(data, 48)
    except BadImageError as error:
        return error.reason
    return out


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_damaged_files_end_as_they_did(place: int, byte: int, cut: bool) -> None:
    """Cut anywhere, or any byte changed: the reference's error, or its pixels or near ones."""
    whole = jpeg(scene(96, 120), quality=60)
    place %= len(whole)
    data = whole[:place] if cut else whole[:place] + bytes([byte]) + whole[place + 1 :]
    got, want = _outcome(decode_fast, data), _outcome(decode, data)
    if isinstance(want, str) or isinstance(got, str):
        assert isinstance(got, str)
        assert isinstance(want, str)
        assert got == want
    else:
        in_tables = not cut and place < whole.index(
            b"\xff\xda"
        )  # they make contrasts, so differences, larger
        assert off(got, want) < (25.0 if in_tables else 3.0)


def test_paths_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(jpeg(scene()))
    assert (decode_fast(path, 64) == decode_fast(path.read_bytes(), 64)).all()
    assert (decode_fast(str(path), 64) == decode_fast(path, 64)).all()
    with pytest.raises(BadImageError, match=r"gone\.jpg: No such file"):
        decode_fast(tmp_path / "gone.jpg", 64)
    with pytest.raises(BadImageError, match="directory"):
        decode_fast(tmp_path, 64)


def test_real_photos_are_near_the_reference(shared_data: Path) -> None:
    files = sorted((shared_data / "trashnet" / "test").glob("*/*.jpg"))[::8]
    for size, most in ((96, 4.0), (128, 0.0)):
        worst = max(off(decode_fast(f, size), decode(f, size)) for f in files)
        assert worst <= most


def test_importing_it_is_light() -> None:
    heavy = "('torch', 'torchvision', 'cv2', 'sklearn', 'simplejpeg')"
    code = f"import sys, compress.data.fast; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(("height", "width"), [(192, 256), (1000, 320), (90, 900), (512, 384), (40, 30)])
def test_padded_fast_is_near_padded_reference(height: int, width: int) -> None:
    data = jpeg(scene(height, width))
    fast, reference = decode_fast(data, 96, pad=True), decode(data, 96, pad=True)
    assert fast.shape == reference.shape == (96, 96, 3)
    assert off(fast, reference) < 2.5


def test_each_way_has_its_name() -> None:
    ways: set[How] = {way(fast, pad) for fast in (False, True) for pad in (False, True)}
    assert ways == {"reference", "fast", "reference-pad", "fast-pad"}
    data = jpeg(scene())
    for how in ways:
        assert way(is_fast(how), is_padded(how)) == how
        got = decoder(how)(data, 64)
        assert np.array_equal(got, (decode_fast if is_fast(how) else decode)(data, 64, is_padded(how)))
