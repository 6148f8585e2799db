"""What each file of a photo set is, without its pixels: size, format, and what is odd about it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from compress.data.decode import TURNED, UPRIGHT, BadImageError, opened, orientation
from compress.data.scan import stat_of

_TINY = 32  # pixels of the shorter side
_LONG = 3.0  # times as long as wide
_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey, transparent",
    "La": "grey, transparent",
    "P": "a palette",
    "PA": "a palette, transparent",
    "RGBA": "transparent",
    "RGBa": "transparent",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "Lab",
    "HSV": "HSV",
    "F": "floating-point",
}


@dataclass(frozen=True)
class Photo:
    """One file.

    Attributes:
        name: relative to the folder looked at.
        width, height: pixels, upright; 0 where the file is no image.
        notes: what is odd about it, though it can be read.
        bad: why it cannot be read, or "".
    """

    name: str
    split: str
    label: str
    width: int = 0
    height: int = 0
    bytes: int = 0
    notes: tuple[str, ...] = ()
    bad: str = ""

    @property
    def ratio(self) -> float:
        """Width over height."""
        return self.width / self.height


def read_photos(root: Path, files: Sequence[tuple[str, str, str]], bad: Sequence[str]) -> list[Photo]:
    """``files`` as (split, class, name); ``bad`` is why each cannot be decoded, or ""."""
    with ThreadPoolExecutor(8) as pool:  # opening is waiting for the disk
        return list(pool.map(lambda file, why: _read(root, file, why), files, bad))


def _read(root: Path, file: tuple[str, str, str], why: str) -> Photo:
    split, label, name = file
    path = root / name
    size = stat_of(path).st_size
    try:
        with opened(path) as image:
            turned = orientation(image)
            width, height = image.size[::-1] if turned in TURNED else image.size
            notes = _notes(image, path.suffix.lower(), turned)
    except BadImageError as error:
        return Photo(name, split, label, bytes=size, bad=why or error.reason)
    if min(width, height) < _TINY:
        notes.append(f"tiny: {width} x {height}")
    if max(width, height) > _LONG * min(width, height):
        notes.append(f"{max(width, height) / min(width, height):.1f} times as long as wide")
    return Photo(name, split, label, width, height, size, tuple(notes), why)


def _notes(image: Image.Image, suffix: str, turned: int) -> list[str]:
    notes = []
    if turned in UPRIGHT:
        notes.append(f"turned by its EXIF orientation ({turned})")
    if image.mode.startswith("I"):
        notes.append("16 bit or more" if image.mode.startswith("I;16") else "integer pixels")
    elif image.mode in _MODES:
        notes.append(_MODES[image.mode])
    named, kind = Image.registered_extensions().get(suffix), image.format or "?"
    if {named, kind} != {"JPEG", "MPO"} and named != kind:
        notes.append(f"a {kind} file" + (f" named {suffix}" if suffix else " without a suffix"))
    frames = getattr(image, "n_frames", 1) if kind != "MPO" else 1
    if frames > 1:
        notes.append(f"{frames} frames, of which the first counts")
    return notes
