"""Photos in folders, one folder a class: train/CLASS/*.jpg, test/CLASS/*.jpg, and val/ if there is one."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from compress.data.cache import Decoded, arranged, decoded
from compress.data.fast import How, way
from compress.data.images import ImageSet, Splits
from compress.data.notes import absent, few, repeated, straddling
from compress.data.scan import Tree, problems, scan
from compress.data.splits import fingerprint, hold_out
from compress.errors import InputError
from compress.spec import Spec, digest

_BAD_SHARE = 0.01


class Group(Spec):
    """Which photos of a class are near-duplicates: those whose numbers fall in the same block.

    Photo n belongs to block ``(n - 1) // block``; blocks of different classes are different groups, unless
    the numbers run through all classes, as those of crops of one photo do.
    """

    pattern: str = Field(
        description="Regular expression whose one group catches the photo's number in its name."
    )
    block: int = Field(1, ge=1, description="How many consecutive numbers are one group.")
    across_classes: bool = Field(False, description="Whether a number means the same group in every class.")

    @field_validator("pattern")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(
                f"{pattern!r} has {groups} groups: give one that catches the number, as in '(\\d+)'"
            )
        return pattern

    def of(self, name: str) -> int | None:
        """Block of a file by its base name, or None when the pattern finds no number in it."""
        match = re.search(self.pattern, name.rsplit("/", 1)[-1])
        try:
            return None if match is None else (int(match[1]) - 1) // self.block
        except (TypeError, ValueError):  # the group took no part, or caught something else
            return None


class FolderData(Spec):
    """An ImageFolder, decoded once to uint8 squares.

    ``test`` is what lies in test/, whatever the seed. ``val`` is val/ where that exists, else a stratified
    part of train; ``tune`` is a stratified part of what is left; both keep groups whole.

    What is not quite right has a stated outcome: a file that Pillow cannot read is named and skipped, or an
    error (see ``on_bad_file``); dot files, Thumbs.db and the like are ignored; an empty class folder, a class
    missing from train, and a name in which ``group`` finds no number are errors; a class missing from val
    or test, and a class with a single photo (it stays in train), are notes.
    """

    kind: Literal["folder"] = "folder"
    root: Path = Field(description="Folder with train/ and test/, relative to the working directory.")
    image_size: int = Field(128, ge=8, le=2048, description="Side of the square every photo is resized to.")
    val_fraction: float = Field(
        0.15, gt=0, lt=1, description="Of train, for val; unused when there is a val/."
    )
    tune_fraction: float = Field(0.1, gt=0, lt=1, description="Of what is left of train, for tune.")
    group: Group | None = Field(None, description="Near-duplicate shots, kept in one split.")
    on_bad_file: Literal["skip", "error"] = Field(
        "skip",
        description="skip: name and skip unreadable files, an error over 1 % of them; error: allow none.",
    )
    decode: Literal["auto", "reference", "fast"] = Field(
        "auto",
        description="How a JPEG becomes pixels. reference: by Pillow. fast: by libjpeg-turbo at a smaller "
        "scale, in training and when deployed. auto: reference in training; the deployed model decodes fast "
        "where that gives the same labels.",
    )
    fit: Literal["squeeze", "pad"] = Field(
        "squeeze",
        description="How a photo that is not square becomes one. squeeze: the longer side is resized more. "
        "pad: black bars beside the shorter one, as the competition's SquarePad.",
    )
    memory_limit_mb: int = Field(
        2048, ge=0, description="Decoded photos beyond this stay on disk, memory-mapped (10^6 bytes)."
    )

    @property
    def how(self) -> How:
        """How its files become pixels in training."""
        return way(self.decode == "fast", self.fit == "pad")

    def check(self) -> list[str]:
        """One line for each problem that shows without opening a photo; empty when there is none."""
        return self._problems(scan(self.root))

    def load(self, seed: int, log: Callable[[str], None] = print) -> Splits:
        """Decode (or find decoded) and split.

        Args:
            seed: of val and tune; test does not depend on it.
            log: gets a line for every skipped file, and the notes.

        Raises:
            InputError: what ``check`` finds, too many unreadable files, a class without a readable photo,
                or a cache folder that cannot be written.
        """
        tree = scan(self.root)
        if found := self._problems(tree):
            raise InputError(found)
        files = list(tree)
        source = decoded(self.root, [name for _, _, name in files], self.image_size, log, self.how)
        notes = _stray(tree) + self._bad(files, source, log)

        good = [row for row, reason in enumerate(source.reasons) if not reason]
        files = [files[row] for row in good]
        targets = np.array([tree.labels.index(label) for _, label, _ in files], dtype=np.int64)
        groups = self._groups(files)
        parts = self._parts(tree, np.array([split for split, _, _ in files]), targets, groups, seed)

        rows = np.array(good, dtype=np.int64)[np.concatenate(parts)]
        mapped = len(rows) * 3 * self.image_size**2 > self.memory_limit_mb * 1_000_000
        images = np.split(
            arranged(source, rows) if mapped else source.images[rows], np.cumsum([len(p) for p in parts])[:-1]
        )
        sets = [
            ImageSet(
                pixels,
                targets[part],
                tree.labels,
                tuple(files[i][2] for i in part),
                None if groups is None else groups[part],
            )
            for pixels, part in zip(images, parts, strict=True)
        ]
        digests = [[source.digests[good[i]] for i in part] for part in parts]
        notes += absent(sets) + repeated(digests) + straddling(sets)
        for note in notes:
            log(note)
        train, tune, val, test = sets
        return Splits(train, tune, val, test, self._fingerprint(sets, digests), tuple(notes))

    def _fingerprint(self, sets: list[ImageSet], digests: list[list[str]]) -> str:
        """Of what they hold and how it was decoded: where these pixels are the same either way (square
        photos, or photos of this very size) those of another size need not be, nor what is deployed."""
        held = fingerprint(sets, digests)
        return held if self.how == "reference" else digest(held, self.how)

    def _parts(
        self, tree: Tree, split: np.ndarray, targets: np.ndarray, groups: np.ndarray | None, seed: int
    ) -> list[np.ndarray]:
        """Indices of train, tune, val, test among the readable files."""
        _every_class(tree, targets[split == "train"])
        rest, val = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
        if "val" not in tree.files:
            rest, val = _part(rest, targets, self.val_fraction, seed, groups)
        train, tune = _part(rest, targets, self.tune_fraction, seed, groups)
        parts = [train, tune, val, np.flatnonzero(split == "test")]
        if not all(len(part) for part in parts):
            counts = ", ".join(str(len(part)) for part in parts)
            raise InputError(
                f"{self.root} is too small: {counts} photos for train, tune, val, test; a class needs "
                "three photos (or groups of them) in train/, for one each in train, tune and val"
            )
        return parts

    def _problems(self, tree: Tree) -> list[str]:
        found = problems(tree)
        if found or self.group is None:
            return found
        names = [name for _, _, name in tree if _looks_like_image(name)]
        return _no_number([n for n in names if self.group.of(n) is None], len(names), self.group.pattern)

    def _groups(self, files: list[tuple[str, str, str]]) -> np.ndarray | None:
        if self.group is None:
            return None
        across = self.group.across_classes
        blocks = [("" if across else label, self.group.of(name)) for _, label, name in files]
        odd = [name for (_, block), (_, _, name) in zip(blocks, files, strict=True) if block is None]
        if lines := _no_number(odd, len(files), self.group.pattern):  # images that are not called so
            raise InputError(lines)
        number = {key: i for i, key in enumerate(dict.fromkeys(blocks))}
        return np.array([number[key] for key in blocks], dtype=np.int64)

    def _bad(
        self, files: list[tuple[str, str, str]], source: Decoded, log: Callable[[str], None]
    ) -> list[str]:
        bad = [(f[2], why) for f, why in zip(files, source.reasons, strict=True) if why]
        if not bad:
            return []
        named = few(f"{name} ({why})" for name, why in bad)
        if self.on_bad_file == "error":
            raise InputError(f"{self.root}: {len(bad)} of {len(files)} files are unreadable: {named}")
        if len(bad) > _BAD_SHARE * len(files):
            raise InputError(
                f"{self.root}: {len(bad)} of {len(files)} files ({len(bad) / len(files):.1%}) are "
                f"unreadable, more than the 1 % that may be skipped: {named}"
            )
        for name, why in bad:
            log(f"skipped {self.root / name}: {why}")
        return [f"skipped {len(bad)} of {len(files)} files: {named}"]


def _part(
    rows: np.ndarray, targets: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    kept, held = hold_out(targets[rows], fraction, seed, None if groups is None else groups[rows])
    return rows[kept], rows[held]


def _every_class(tree: Tree, targets: np.ndarray) -> None:
    counts = np.bincount(targets, minlength=len(tree.labels)).tolist()
    if lines := [
        f"class {label!r}: no readable photo in {tree.root / 'train' / label}"
        for label, n in zip(tree.labels, counts, strict=True)
        if n == 0
    ]:
        raise InputError(lines)


def _stray(tree: Tree) -> list[str]:
    return [f"ignored {len(tree.stray)} files outside class folders: {few(tree.stray)}"] if tree.stray else []


def _no_number(names: list[str], total: int, pattern: str) -> list[str]:
    if not names:
        return []
    return [f"group.pattern {pattern!r} finds no number in {len(names)} of {total} names: {few(names)}"]


def _looks_like_image(name: str) -> bool:
    return (mimetypes.guess_type(name)[0] or "").startswith("image/")
