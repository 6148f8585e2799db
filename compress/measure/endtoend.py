"""From an encoded image to its label, one at a time, as the competition timed it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from compress.data.decode import opened
from compress.data.fast import How, decoder
from compress.data.images import ImageSet
from compress.measure.machine import package_version
from compress.measure.quality import Interval, f1_difference_interval
from compress.measure.sections import bound

Kind = Literal["model", "end_to_end"]  # of a time: the model alone, or an encoded image to its label
KINDS: tuple[Kind, ...] = ("model", "end_to_end")
DECODERS = ("pillow", "simplejpeg", "opencv-python-headless")
_MOST_PIXELS, _FEWEST = 16e6, 4  # of photos that are timed together
SAME_LABELS = 0.98  # share of val that the fast path must label as the reference path does


def encoded(data: ImageSet, root: Path | None, count: int = 16) -> list[bytes]:
    """Up to ``count`` images spread over ``data`` as files hold them; made-up sets are encoded as JPEG."""
    return timeable([_file(data, root, i) for i in spread(len(data), count)])


def spread(among: int, count: int) -> list[int]:
    """Up to ``count`` places from the first of ``among`` to the last."""
    places: list[int] = np.linspace(0, among - 1, min(count, among)).astype(int).tolist()
    return places


def timeable(photos: Sequence[bytes]) -> list[bytes]:
    """All of ``photos``; some of them, four at least, where all have more than 16 megapixels, as the clock
    calls for all at once and many times."""
    fit = int(len(photos) * _MOST_PIXELS / max(sum(map(_pixels, photos)), 1))
    return [photos[i] for i in spread(len(photos), max(fit, _FEWEST))]


def _file(data: ImageSet, root: Path | None, i: int) -> bytes:
    from PIL import Image

    file = root / data.names[i] if root is not None and data.names else None
    if file is not None and file.is_file():
        return file.read_bytes()
    buffer = io.BytesIO()
    Image.fromarray(data.images[i]).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _pixels(photo: bytes) -> int:
    """By its header."""
    with opened(photo) as image:
        return image.width * image.height


def decoding(photos: Sequence[bytes]) -> list[str | None]:
    """What an end-to-end time depends on besides the model and the machine: ``photos``, as files hold them,
    and the versions of what decodes them."""
    hashed = hashlib.sha256()
    for photo in photos:
        hashed.update(hashlib.sha256(photo).digest())
    return [hashed.hexdigest(), *map(package_version, DECODERS)]


def each_of(images: Sequence[Any], call: Callable[[Any], object]) -> Callable[[], object]:
    """A function of no argument for the clock, which makes ``call`` on every one of ``images``; its time is
    the mean over them (it carries their number, ``inputs``).

    Not one of them a call: they take different times, and the clock, which goes by the quicker calls, would
    compare runs on the images that are quick to decode.
    """
    items = list(images)

    def all_of_them() -> None:
        for item in items:
            call(item)

    all_of_them.inputs = len(items)  # type: ignore[attr-defined]
    return all_of_them


def labeller(run: Callable[[np.ndarray], np.ndarray], size: int, how: How) -> Callable[[bytes], int]:
    """Bytes of an image file to a class index: decode, resize to ``size``, ``run``, the largest logit.

    Args:
        run: uint8 1 x H x W x 3 to logits 1 x C.
    """
    decode = decoder(how)
    return lambda image: int(run(decode(image, size)[None]).argmax())


class Ready(Protocol):
    """An exported net as it is deployed: what loads it, the side of its input, how files become pixels."""

    @property
    def runtime(self) -> Any: ...

    @property
    def artifact(self) -> Any: ...

    @property
    def size(self) -> int: ...

    @property
    def how(self) -> How: ...


def one_call(kind: Kind, model: Ready, photos: Sequence[bytes]) -> Callable[[], object]:
    """``model`` loaded anew, as a function of no argument for the clock: alone on the first of ``photos``
    (image files' bytes), or from all of them, one by one, to their labels."""
    run = model.runtime.load(model.artifact, batch=1)
    if kind == "end_to_end":
        return each_of(photos, labeller(run, model.size, model.how))
    return bound(run, decoder(model.how)(photos[0], model.size)[None])


@dataclass(frozen=True)
class Agreement:
    """The fast way to pixels beside the reference, by the labels one model gives to the same images.

    Attributes:
        same: share of the ``n`` images with the same label.
        f1_difference: 95 % interval of macro F1 by fast pixels minus that by reference pixels, paired.
    """

    same: float
    n: int
    f1_difference: Interval

    @classmethod
    def of(
        cls, targets: np.ndarray, reference: np.ndarray, fast: np.ndarray, groups: np.ndarray | None = None
    ) -> Agreement:
        """From true classes, the two paths' labels, and the images' groups if they have any, int N each."""
        change = f1_difference_interval(targets, fast, reference, groups=groups)
        return cls(float((reference == fast).mean()), len(targets), change)

    @property
    def ok(self) -> bool:
        """At least 98 % equal labels, and no difference in F1 that is more than chance."""
        return self.same >= SAME_LABELS and self.f1_difference[0] <= 0 <= self.f1_difference[1]

    def __str__(self) -> str:
        low, high = self.f1_difference
        return (
            f"fast decoding gives {self.same:.1%} of {self.n} val images the same label, "
            f"F1 {low:+.3f} to {high:+.3f}: {'used' if self.ok else 'not used'}"
        )
