"""Looking at a photo set: `python -m compress data eda DIR`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from compress.data.cache import Decoded, decoded, derived
from compress.data.eda.colour import pixel_stats
from compress.data.eda.duplicates import Pair, find_pairs, groups_of
from compress.data.eda.facts import Eda, Group
from compress.data.eda.features import NAME, simple_features
from compress.data.eda.labels import LabelCheck, check_labels
from compress.data.eda.photos import Photo, read_photos
from compress.data.scan import Tree, scan_any
from compress.errors import InputError

Log = Callable[[str], None]


def examine(root: Path, *, size: int = 160, turned: bool = False, log: Log = print) -> Eda:
    """Look at every photo below ``root``: train/, val/ and test/ with class folders, or class folders alone.

    Args:
        size: side at which photos are decoded (into the cache) and compared.
        turned: count mirrored and turned copies as near-duplicates too.
        log: takes lines of progress.

    Raises:
        InputError: no such folder, no class folder, or no readable photo.
    """
    tree = scan_any(root)
    files = list(tree)
    if not files:
        raise InputError(_nothing(root, tree))
    source = decoded(root, [name for _, _, name in files], size, log)
    photos = read_photos(root, files, source.reasons)
    good = np.array([i for i, photo in enumerate(photos) if not photo.bad], dtype=np.int64)
    if not len(good):
        raise InputError(f"{root}: none of {len(files)} files is a readable image, e.g. {photos[0].bad}")
    images = source.images[good]
    stats = pixel_stats(images)
    for row, i in enumerate(good.tolist()):
        if note := stats.odd(row):
            photos[i] = replace(photos[i], notes=(*photos[i].notes, note))
    classes = tuple(sorted({label for split in tree.files.values() for label in split}))
    targets = np.array([classes.index(photos[i].label) for i in good])
    groups, numbers = _groups(photos, good, source.digests, find_pairs(images, turned))
    features, name = _features(source, log)
    return Eda(
        root=root,
        photos=tuple(photos),
        classes=classes,
        splits=tuple(tree.files),
        stray=tree.stray,
        size=size,
        colour=stats.of(np.arange(len(good))),
        by_class={
            label: stats.of(rows)
            for c, label in enumerate(classes)
            if len(rows := np.flatnonzero(targets == c))
        },
        groups=groups,
        labels=_on_photos(check_labels(features[good], targets, len(classes), numbers), good),
        features=name,
    )


def _nothing(root: Path, tree: Tree) -> str:
    if not root.is_dir():
        return f"data folder {root} {'is a file' if root.exists() else 'does not exist'}: give one of photos"
    folders = tree.files.get("all", tree.files)  # without train/ and test/ those of the classes
    found = ", ".join([*folders, *tree.stray][:8]) or "nothing"
    return f"{root} has no photos in class folders (found: {found}): the layout is [train/]CLASS/photo.jpg"


def _groups(
    photos: list[Photo], good: np.ndarray, digests: tuple[str, ...], pairs: list[Pair]
) -> tuple[tuple[Group, ...], np.ndarray]:
    """Groups of two and more, and for each readable photo the number of its group."""
    numbers = groups_of(len(good), pairs)
    found: dict[int, Group] = {}
    for pair in pairs:  # nearest first
        number = int(numbers[pair.first])
        if number not in found:
            members = tuple(good[np.flatnonzero(numbers == number)].tolist())
            same = len({digests[i] for i in members}) < len(members)
            found[number] = Group(members, pair.bits, pair.turn, same)

    def order(group: Group) -> tuple[bool, bool, int, str]:
        inside = [photos[i] for i in group.photos]
        one_label, one_split = len({p.label for p in inside}) == 1, len({p.split for p in inside}) == 1
        return one_split, one_label, group.bits, inside[0].name

    return tuple(sorted(found.values(), key=order)), numbers


def _on_photos(check: LabelCheck | None, good: np.ndarray) -> LabelCheck | None:
    """With rows of all photos instead of the readable ones."""
    if check is None:
        return None
    return replace(check, suspects=tuple(replace(one, row=int(good[one.row])) for one in check.suspects))


def _features(source: Decoded, log: Log) -> tuple[np.ndarray, str]:
    """N x D of every file, and what they are."""
    from compress.models.pretrained import WHEEL

    if find_spec(WHEEL) is None:
        return simple_features(source.images), f"{NAME} (extra teacher, for better ones, is not installed)"
    features = derived(source, "efficientnet-lite0", lambda: _lite0(source.images, log))
    return features, "EfficientNet-Lite0's, trained on ImageNet"


def _lite0(images: np.ndarray, log: Log) -> np.ndarray:
    """float32 N x 1280 before its last layer."""
    import torch

    from compress.models import pretrained
    from compress.net import Preprocess

    body = pretrained.efficientnet_lite0()[:-1]
    preprocess = Preprocess(images.shape[1], pretrained.MEAN, pretrained.STD)
    out, told = [], time.monotonic()
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            batch = torch.from_numpy(np.array(images[start : start + 64])).permute(0, 3, 1, 2)
            out.append(body(preprocess.normalise(batch)).numpy())
            if time.monotonic() - told > 10:
                told = time.monotonic()
                log(f"features of {start + len(batch)} of {len(images)} photos")
    return np.concatenate(out)
