"""One image file to uint8 RGB: the same few lines for training, measuring and predicting."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from compress.errors import InputError

# Raster formats only: Pillow would hand EPS to Ghostscript.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {  # what turns an image of that orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height


class BadImageError(InputError):
    """A file that is missing, truncated, or no image.

    Attributes:
        reason: the line without the name.
        temporary: it lies with the system (the disk, a permission, memory), so that it may be read later.
    """

    def __init__(self, name: str, reason: str, temporary: bool = False) -> None:
        self.reason, self.temporary = reason, temporary
        super().__init__(f"{name}: {reason}")


def decode(image: str | os.PathLike[str] | bytes, size: int, pad: bool = False) -> np.ndarray:
    """An image file, or its bytes, as uint8 size x size x 3 RGB.

    The whole image is squeezed to a square by antialiased bilinear resampling (nothing is cropped), or with
    ``pad`` keeps its shape between two black bars, as the competition's SquarePad has it; upright
    by its EXIF orientation; transparent pixels become white, 16-bit greys keep their high byte, CMYK, grey
    and palette images become RGB, and of an animation the first frame is taken. JPEGs far larger than
    ``size`` are decoded at 1/2, 1/4 or 1/8 of their size, never below twice ``size``.

    Raises:
        BadImageError: (an InputError) the file is missing, truncated, or no image; it is named.
    """
    with opened(image) as file:
        file.draft(None, (2 * size, 2 * size))
        whole = on_black(rgb(file)) if pad else rgb(file)
        square = whole.resize((size, size), Image.Resampling.BILINEAR)
        turned = orientation(file)  # after loading, which turns a TIFF by itself
    if turned in UPRIGHT:
        square = square.transpose(UPRIGHT[turned])
    return np.array(square, dtype=np.uint8)


def on_black(image: Image.Image) -> Image.Image:
    """In the middle of the smallest square that holds it."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


@contextmanager
def opened(image: str | os.PathLike[str] | bytes) -> Iterator[Image.Image]:
    """An image file, or its bytes, open; whatever is raised inside becomes BadImageError and names it."""
    name = "<bytes>" if isinstance(image, bytes) else os.fspath(image)
    source = io.BytesIO(image) if isinstance(image, bytes) else image
    try:
        with Image.open(source, formats=_formats()) as file:
            yield file
    except UnidentifiedImageError as error:
        raise BadImageError(name, "not an image that Pillow can read") from error
    except OSError as error:
        told = error.strerror or str(error)  # Pillow's own, as of a truncated file, have no number
        raise BadImageError(name, told, temporary=error.errno is not None) from error
    except MemoryError as error:
        raise BadImageError(name, "not enough memory", temporary=True) from error
    except Exception as error:  # Pillow's plugins raise a dozen kinds on damaged files
        raise BadImageError(name, f"damaged image ({type(error).__name__}: {error})") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF has it; 1 is upright."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF beside sound pixels: the image is taken as it lies
        return 1


def rgb(image: Image.Image) -> Image.Image:
    """The whole image in RGB, as ``decode`` does it."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("integer pixels beyond 16 bits")
        return Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
