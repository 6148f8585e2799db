"""One's own images, as arrays, tensors, data sets or loaders, in the form the toolkit keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compress.data.cache import pixel_digest
from compress.data.images import ImageSet, Splits
from compress.data.notes import absent, repeated
from compress.data.splits import fingerprint, hold_out
from compress.errors import InputError


def as_image_set(source: Any, labels: Sequence[str] | None = None, name: str = "data") -> ImageSet:
    """``source`` as an ImageSet.

    Args:
        source: an ImageSet, whose names and groups stay; or a pair (images, targets) of arrays or tensors;
            or an iterable of such pairs, batched (a DataLoader) or one image each (a Dataset), which is gone
            through once. Images are uint8, or float in [0, 1], as N x C x H x W or N x H x W x C with C 1 or
            3, or grey N x H x W, and square. Targets are class indices.
        labels: class names; ``"0"``, ``"1"``, ... up to the largest target when left out.
        name: what to call the data in errors and made-up file names.

    Raises:
        InputError: anything else, saying what was found.
    """
    if isinstance(source, ImageSet):
        own = _own_set(source, name)
        if labels is not None and tuple(labels) != own.labels:
            raise InputError(f"{name}: its classes are {own.labels}, expected {tuple(labels)}")
        return own
    batches = [source] if _is_pair(source) else _iterate(source, name)
    images, targets = [], []
    for i, batch in enumerate(batches):
        where = name if _is_pair(source) else f"{name}, item {i}"
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise InputError(f"{where}: expected a pair (images, targets), got {_kind(batch)}")
        y = _targets(batch[1], where)
        images.append(_images(batch[0], y.ndim == 0, where))
        targets.append(np.atleast_1d(y))
        _same_number(images[-1], targets[-1], where)
        if images[-1].shape[1:] != images[0].shape[1:]:
            raise InputError(f"{where}: {images[-1].shape[1]} px images after {images[0].shape[1]} px ones")
    if not sum(len(y) for y in targets):
        raise InputError(f"{name}: no images in it")
    y = np.concatenate(targets)
    names = tuple(str(i) for i in range(int(y.max()) + 1)) if labels is None else tuple(labels)
    _within(y, names, name)
    return ImageSet(np.concatenate(images), y, names, tuple(f"{name}/{i:06d}" for i in range(len(y))))


def image_sets(
    train: Any, val: Any, test: Any, labels: Sequence[str] | None = None
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """The three as ImageSets of the same classes and size; see ``splits_from``.

    Raises:
        InputError: from ``as_image_set``; sizes or classes that differ; a class that train lacks.
    """
    given = {"train": train, "val": val, "test": test}
    named = {tuple(data.labels) for data in given.values() if isinstance(data, ImageSet)}
    if len(named) > 1:
        raise InputError(f"train, val and test differ in their classes: {sorted(named)}")
    if labels is None and named:
        labels = next(iter(named))
    sets = {name: as_image_set(data, labels, name) for name, data in given.items()}
    if labels is None:  # the largest target of the three decides
        labels = max((data.labels for data in sets.values()), key=len)
        sets = {k: ImageSet(d.images, d.targets, labels, d.names, d.groups) for k, d in sets.items()}
    _same(sets)
    return sets["train"], sets["val"], sets["test"]


def splits_from(
    train: Any,
    val: Any,
    test: Any,
    seed: int = 0,
    labels: Sequence[str] | None = None,
    tune_fraction: float = 0.1,
) -> Splits:
    """Splits of one's own data; each argument as for ``as_image_set``, tune is taken out of train.

    Rows are put in the order of their class and pixels: a loader that shuffles gives the same splits,
    with the same fingerprint, every time.

    Args:
        seed: of the stratified choice of tune, which keeps ``train.groups`` whole where train has them.
        labels: class names; those of an ImageSet among the three, or numbers, when left out.

    Raises:
        InputError: from ``image_sets``; too few images to hold any out.
    """
    sets = dict(zip(("train", "val", "test"), image_sets(train, val, test, labels), strict=True))
    pixels = {name: np.array([pixel_digest(image) for image in data.images]) for name, data in sets.items()}
    rows = {name: np.lexsort((pixels[name], data.targets)) for name, data in sets.items()}
    groups = None if sets["train"].groups is None else sets["train"].groups[rows["train"]]
    kept, held = hold_out(sets["train"].targets[rows["train"]], tune_fraction, seed, groups)
    if not len(held):
        raise InputError(f"train: {len(kept)} images are too few to hold some out for tune")
    chosen = [("train", rows["train"][kept]), ("train", rows["train"][held])]
    chosen += [(name, rows[name]) for name in ("val", "test")]
    parts = [sets[name].take(index) for name, index in chosen]
    digests = [pixels[name][index].tolist() for name, index in chosen]
    notes = tuple(absent(parts) + repeated(digests))
    return Splits(parts[0], parts[1], parts[2], parts[3], fingerprint(parts, digests), notes)


def _own_set(data: ImageSet, name: str) -> ImageSet:
    """An ImageSet that a user made, which checks nothing by itself: held to what arrays are held to."""
    x, y = data.images, np.atleast_1d(_targets(data.targets, name))
    if not (isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.shape[1:] == (*x.shape[1:2] * 2, 3)):
        x = _images(x, False, name)  # else left as it is: it may be mapped from a file larger than memory
    _same_number(x, y, name)
    if not len(y):
        raise InputError(f"{name}: no images in it")
    labels, names = tuple(data.labels), tuple(data.names)
    _within(y, labels, name)
    if names and len(names) != len(y):
        raise InputError(f"{name}: {len(y)} images but {len(names)} names: give one an image, or none")
    groups = None if data.groups is None else _array(data.groups, name)
    if groups is not None and (groups.shape != y.shape or groups.dtype.kind not in "iu"):
        raise InputError(f"{name}: groups must be integers, one an image, got {_kind(groups)}")
    return ImageSet(x, y, labels, names, groups)


def _same_number(images: np.ndarray, targets: np.ndarray, where: str) -> None:
    if len(images) != len(targets):
        raise InputError(f"{where}: {len(images)} images but {len(targets)} targets")


def _within(targets: np.ndarray, labels: tuple[str, ...], name: str) -> None:
    if (most := int(targets.max())) >= len(labels):
        raise InputError(f"{name}: target {most} is beyond the {len(labels)} classes {labels}")


def _same(sets: dict[str, ImageSet]) -> None:
    sizes = {name: data.images.shape[1:3] for name, data in sets.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"images differ in size: {', '.join(f'{n} {s[0]} x {s[1]}' for n, s in sizes.items())}"
        )
    learnt = set(sets["train"].targets.tolist())
    for name, data in sets.items():
        if unknown := sorted(set(data.targets.tolist()) - learnt):
            raise InputError(f"{name} has classes that train lacks: {[data.labels[c] for c in unknown]}")


def _is_pair(source: Any) -> bool:
    """Images and targets, rather than an iterable that happens to give two batches."""
    return isinstance(source, (tuple, list)) and len(source) == 2 and hasattr(source[0], "ndim")


def _iterate(source: Any, name: str) -> Iterator[Any]:
    if hasattr(source, "__iter__"):
        return iter(source)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):  # a Dataset: it may never say stop
        return (source[i] for i in range(len(source)))
    raise InputError(
        f"{name}: expected an ImageSet, a pair (images, targets) or an iterable of such pairs, "
        f"got {_kind(source)}"
    )


def _array(value: Any, where: str) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor, wherever it lies
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()  # numpy has no bfloat16
    elif hasattr(value, "convert"):  # a Pillow image
        value = value.convert("RGB")
    try:
        return np.asarray(value)
    except ValueError as error:  # a list of arrays of several shapes
        raise InputError(f"{where}: expected one array, got a {_kind(value)} of unlike ones") from error


def _targets(value: Any, where: str) -> np.ndarray:
    y = _array(value, where)
    if y.ndim > 1 or y.dtype.kind not in "iu":
        raise InputError(f"{where}: targets must be class indices (integers, one an image), got {_kind(y)}")
    if y.size and y.min() < 0:
        raise InputError(f"{where}: target {int(y.min())} is negative")
    return y.astype(np.int64)


def _images(value: Any, single: bool, where: str) -> np.ndarray:
    """uint8 N x H x W x 3."""
    x = _array(value, where)
    x = x[None] if single else x
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or not {x.shape[1], x.shape[3]} & {1, 3}:
        raise InputError(f"{where}: expected N x C x H x W or N x H x W x C with C 1 or 3, got {_kind(x)}")
    if x.shape[3] not in (1, 3) or (x.shape[1] in (1, 3) and x.shape[2] == x.shape[3]):
        x = x.transpose(0, 2, 3, 1)
    if x.shape[1] != x.shape[2]:
        raise InputError(f"{where}: images are {x.shape[1]} x {x.shape[2]}, they must be square: resize them")
    if x.dtype.kind == "f":
        if x.size and not (x.min() >= 0 and x.max() <= 1):  # NaN fails too
            raise InputError(
                f"{where}: float images must be in [0, 1], found {x.min():.3g} to {x.max():.3g}: "
                "give them before normalisation, or as uint8"
            )
        x = np.round(x * 255)
    elif x.dtype != np.uint8:
        raise InputError(f"{where}: images must be uint8, or float in [0, 1], got {x.dtype}")
    return np.ascontiguousarray(np.broadcast_to(x.astype(np.uint8), (*x.shape[:3], 3)))


def _kind(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
