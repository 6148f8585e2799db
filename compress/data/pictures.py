"""A run's images at any size: decoded again where their files are, resized as arrays where not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compress.data.cache import decoded
from compress.data.fast import How
from compress.data.images import ImageSet
from compress.errors import InputError


@dataclass(frozen=True)
class Pictures:
    """Where the images of a run come from.

    Attributes:
        root: the folder that their names are relative to; None for images without files.
        how: the way in which the images in memory were decoded.
        log: takes a line while many files are decoded.
    """

    root: Path | None = None
    how: How = "reference"
    log: Callable[[str], None] = print

    def at(self, data: ImageSet, size: int, how: How | None = None) -> ImageSet:
        """``data`` with images of side ``size``, decoded by ``how`` (as they were, when left out).

        Files are decoded to ``size`` at once, as a deployed model does it, and kept in the cache; arrays are
        resized by the same antialiased bilinear filter, and know no ``how``.

        Raises:
            InputError: a file is gone, or has become unreadable.
        """
        how = how or self.how
        same = data.images.shape[1] == size
        if same and (how == self.how or not self.has_files(data)):
            return data
        if not self.has_files(data):
            return replace(data, images=resized(data.images, size))
        assert self.root is not None
        source = decoded(self.root, data.names, size, self.log, how)
        read = zip(data.names, source.reasons, strict=True)
        if bad := [f"{self.root / name}: {why}" for name, why in read if why]:
            raise InputError(bad)
        return replace(data, images=source.images)

    def has_files(self, data: ImageSet) -> bool:
        """Whether every image of ``data`` is a file below ``root``."""
        root = self.root
        if root is None or len(data.names) != len(data):
            return False
        return all((root / name).is_file() for name in data.names)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 N x H x W x 3 to N x size x size x 3, by Pillow's antialiased bilinear filter."""
    from PIL import Image

    shape, bilinear = (size, size), Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(image).resize(shape, bilinear)) for image in images])
