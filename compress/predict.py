"""Use an exported model: images in, (label, probability) out. Needs no torch unless its runtime does."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np

from compress.data.decode import decode
from compress.data.fast import How, decoder, is_fast, is_padded, missing
from compress.errors import InputError
from compress.folders import model_folder
from compress.runtimes.base import MANIFEST
from compress.runtimes.kinds import open_artifact

if TYPE_CHECKING:
    from PIL.Image import Image

    from compress.runtimes.base import Artifact, Runtime

    OneImage: TypeAlias = str | os.PathLike[str] | bytes | Image | np.ndarray
    Images: TypeAlias = OneImage | Iterable[OneImage]

_BATCH = 64


def load(path: str | os.PathLike[str]) -> Predictor:
    """The model of a run's folder (its ``artifact/``) or of an artifact's folder.

    Raises:
        InputError: there is no such folder, no model in it, it is damaged, or its runtime is not installed.
    """
    folder = Path(path)
    if not (folder / MANIFEST).is_file():
        folder = model_folder(folder)
    return Predictor(*open_artifact(folder))


class Predictor:
    """A loaded model.

    Attributes:
        labels: class names, in the order of the logits.
        size: side of the square input, pixels.
        how: the way files become pixels, the one this model was scored with.
        runtime, artifact: what runs it, and where it lies.
    """

    def __init__(self, runtime: Runtime, artifact: Artifact) -> None:
        meta = artifact.meta
        if not meta.get("labels") or "preprocess" not in meta:
            raise InputError(
                f"{artifact.path / MANIFEST}: no labels or preprocess: a bare module, not a whole net"
            )
        self.runtime, self.artifact = runtime, artifact
        try:
            self.labels: tuple[str, ...] = tuple(meta["labels"])
            self.size = int(meta["preprocess"]["size"])
            self.how: How = meta["preprocess"].get("decode", "reference")  # older artifacts do not say
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            said = f"{type(error).__name__}: {error}"
            raise InputError(f"{artifact.path / MANIFEST}: damaged (labels or preprocess: {said})") from error
        if self.how not in get_args(How):
            raise InputError(f"{artifact.path / MANIFEST}: preprocess.decode {self.how!r} is unknown here")
        if is_fast(self.how) and (line := missing()) is not None:
            raise InputError(f"{artifact.path} decodes images fast: {line}")
        self._loaded: dict[int | None, Callable[[np.ndarray], np.ndarray]] = {}
        self._lock = threading.Lock()  # a loaded model answers one call at a time

    def predict(self, images: Images) -> list[tuple[str, float]]:
        """The most probable label of each image and its probability.

        Args:
            images: one or many, see ``decode``.

        Raises:
            InputError: not an image, a missing file, or an array of another dtype or shape; it is named.
        """
        probabilities = self.probabilities(images)
        best = probabilities.argmax(axis=1)
        return [(self.labels[i], float(row[i])) for i, row in zip(best, probabilities, strict=True)]

    def probabilities(self, images: Images) -> np.ndarray:
        """float64 N x C, each row summing to 1; see ``predict``."""
        logits = self.logits(self.decode(images)).astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        normalised: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
        return normalised

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """uint8 N x size x size x 3 to float32 N x C.

        Raises:
            InputError: another dtype or shape.
        """
        with self._lock:
            if len(batch) == 1:
                return self._run(1)(batch)
            run = self._run(None)
            if len(batch) <= _BATCH:
                return run(batch)
            return np.concatenate([run(batch[i : i + _BATCH]) for i in range(0, len(batch), _BATCH)])

    def decode(self, images: Images) -> np.ndarray:
        """Images as the model takes them, uint8 N x size x size x 3: resized as in training.

        Args:
            images: a path, the bytes of an image file, a PIL image, a uint8 RGB array H x W x 3, or many of
                these; an array N x H x W x 3 is N images.

        Raises:
            InputError: see ``predict``.
        """
        if isinstance(images, np.ndarray):
            if (
                images.ndim == 4
                and images.shape[1:] == (self.size, self.size, 3)
                and images.dtype == np.uint8
            ):
                return images
            many: list[Any] = list(images) if images.ndim == 4 else [images]
        elif isinstance(images, str | bytes | os.PathLike) or _is_pil(images):
            many = [images]
        elif isinstance(images, Iterable):
            many = list(images)
        else:
            many = [images]
        if not many:
            raise InputError("no images to predict")
        return np.stack([self._one(image) for image in many])

    def _one(self, image: Any) -> np.ndarray:
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                shape = " x ".join(map(str, image.shape))
                raise InputError(f"an image array must be uint8 H x W x 3 (RGB), got {image.dtype} {shape}")
            if image.shape == (self.size, self.size, 3):
                return image
            return self._resized(_to_pil(image))
        if _is_pil(image):
            return self._resized(image)
        if isinstance(image, str | bytes | os.PathLike):
            return decoder(self.how)(image, self.size)
        raise InputError(
            f"an image must be a path, bytes, a PIL image or a uint8 array, got {type(image).__name__}"
        )

    def _resized(self, image: Image) -> np.ndarray:
        """Through an uncompressed file, so that ``decode`` alone knows how to resize and convert."""
        from PIL import ImageOps

        buffer = io.BytesIO()
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
            upright.save(buffer, "TIFF")
        except Exception as error:  # a damaged file opened lazily raises what its plugin likes
            raise InputError(f"a PIL image (mode {image.mode}) cannot be read: {error}") from error
        return decode(buffer.getvalue(), self.size, is_padded(self.how))

    def _run(self, batch: int | None) -> Callable[[np.ndarray], np.ndarray]:
        if batch not in self._loaded:
            self._loaded[batch] = self.runtime.load(self.artifact, batch)
        return self._loaded[batch]


def _is_pil(image: object) -> bool:
    from PIL.Image import Image

    return isinstance(image, Image)


def _to_pil(image: np.ndarray) -> Image:
    from PIL.Image import fromarray

    return fromarray(image)
