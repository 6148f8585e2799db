"""The fast way from a JPEG to pixels: libjpeg-turbo's scaled decoding, then a small resize.

What it does not do as well as ``compress.data.decode``, it leaves to it: files that are no baseline JPEG,
turned or damaged ones, and photos smaller than what is wanted.
"""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from compress.data.decode import decode, on_black, orientation

Image_ = str | os.PathLike[str] | bytes
How = Literal["reference", "fast", "reference-pad", "fast-pad"]  # how files become pixels; artifacts say it

_SCALES = (8, 4, 2)  # libjpeg-turbo has vector code for these; 3/8, 5/8 ... cost more than the whole image
_BASELINE = (0xC0, 0xC1)
_OTHER_FRAMES = frozenset(range(0xC2, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1, _SCAN = 0xE1, 0xDA


def decoder(how: How) -> Callable[[Image_, int], np.ndarray]:
    """``decode`` or ``decode_fast``: (an image file or its bytes, side) to uint8 side x side x 3."""
    return partial(decode_fast if is_fast(how) else decode, pad=is_padded(how))


def way(fast: bool, pad: bool) -> How:
    """The name of one of the four ways."""
    if pad:
        return "fast-pad" if fast else "reference-pad"
    return "fast" if fast else "reference"


def is_fast(how: How) -> bool:
    return how.startswith("fast")


def is_padded(how: How) -> bool:
    return how.endswith("-pad")


def missing() -> str | None:
    """None when fast decoding is possible here, else the line that says what to install."""
    needs = {"simplejpeg": "simplejpeg", "cv2": "opencv-python-headless"}
    absent = [package for module, package in needs.items() if importlib.util.find_spec(module) is None]
    return f"needs {' and '.join(absent)}: pip install {' '.join(absent)}" if absent else None


def decode_fast(image: Image_, size: int, pad: bool = False) -> np.ndarray:
    """As ``decode``, with nearly the same pixels, in about a third of its time (256 x 192 to 96 x 96).

    A JPEG is decoded at 1/8, 1/4, 1/2 or all of its size, the smallest that is not below ``size``. From a
    smaller scale it is resized by area; where none will do, as ``decode`` does it, to the same pixels.

    Raises:
        BadImageError: (an InputError) see ``decode``.
    """
    data = _bytes(image)
    found = None if data is None else at_scale(data, size)
    if found is None:
        return decode(image, size, pad)
    pixels, scale = found
    return shrunk(np.asarray(on_black(Image.fromarray(pixels))) if pad else pixels, scale, size)


def at_scale(data: bytes, size: int) -> tuple[np.ndarray, int] | None:
    """A JPEG as uint8 H x W x 3 at its smallest scale not below ``size``, and how many times smaller that is;
    None for what ``decode`` must take."""
    import simplejpeg

    shape = _plain(data)
    if shape is None or min(shape) < size:
        return None
    height, width = shape
    scale = next((s for s in _SCALES if min(shape) >= s * size), 1)
    least = {"min_height": -(-height // scale), "min_width": -(-width // scale)}
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB", **least)
    except ValueError:  # damaged: the other one knows what to say of it
        return None
    return pixels, scale


def shrunk(pixels: np.ndarray, scale: int, size: int) -> np.ndarray:
    """uint8 H x W x 3 to size x size x 3; see ``at_scale``.

    After scaling, which averages already, an average over areas does, in half the time of Pillow's filter.
    """
    if pixels.shape[:2] == (size, size):
        return pixels
    if scale == 1:
        return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    import cv2

    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def _bytes(image: Image_) -> bytes | None:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError:
        return None


def _plain(data: bytes) -> tuple[int, int] | None:
    """Height and width of an upright baseline JPEG in grey or colour; None for anything else."""
    if data[:2] != b"\xff\xd8":
        return None
    at, shape, turnable = 2, None, False
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == _SCAN:
            return None if turnable and not _is_upright(data) else shape
        if marker in _OTHER_FRAMES:
            return None
        if marker in _BASELINE:
            shape = _shape(data[at + 4 : at + 10])
        turnable |= marker == _APP1  # Exif or XMP
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _shape(frame: bytes) -> tuple[int, int] | None:
    """Height and width from a frame's header; None for what Pillow should judge."""
    bits, channels = frame[0], frame[5]
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    most = Image.MAX_IMAGE_PIXELS
    sound = bits == 8 and channels in (1, 3) and height and width
    return (height, width) if sound and (most is None or height * width <= most) else None


def _is_upright(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as opened:
            return orientation(opened) == 1
    except Exception:  # damaged: not for this path
        return False
