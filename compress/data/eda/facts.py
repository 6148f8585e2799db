"""What was found by looking at a photo set: the facts, as values and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.data.eda.colour import Colour
from compress.data.eda.duplicates import ALIKE, BITS, LIMIT
from compress.data.eda.labels import LabelCheck
from compress.data.eda.photos import Photo


@dataclass(frozen=True)
class Group:
    """Photos that are nearly the same, however indirectly.

    Attributes:
        photos: indices into ``Eda.photos``.
        bits: of their hashes in which the nearest two differ. turn: how one must be turned to be the other.
        same: whether two of them have the very same pixels.
    """

    photos: tuple[int, ...]
    bits: int
    turn: str = ""
    same: bool = False


@dataclass(frozen=True)
class Eda:
    """A photo set, looked at.

    Attributes:
        photos: every file, unreadable ones too.
        stray: files outside class folders.
        size: side at which photos were compared, pixels.
        colour: of all readable photos. by_class: of each class that has one.
        groups: near-duplicates; those that span splits first.
        labels: None when fewer than two classes have photos enough; rows in it index ``photos``.
        features: what the labels were judged by.
    """

    root: Path
    photos: tuple[Photo, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    stray: tuple[str, ...]
    size: int
    colour: Colour
    by_class: Mapping[str, Colour]
    groups: tuple[Group, ...]
    labels: LabelCheck | None
    features: str

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Readable photos of each class in each split; classes without any too."""
        found = Counter((p.label, p.split) for p in self.photos if not p.bad)
        return {label: {split: found[label, split] for split in self.splits} for label in self.classes}

    @property
    def bad(self) -> list[Photo]:
        return [photo for photo in self.photos if photo.bad]

    @property
    def odd(self) -> list[Photo]:
        """Readable photos with something odd about them."""
        return [photo for photo in self.photos if photo.notes and not photo.bad]

    def splits_of(self, group: Group) -> tuple[str, ...]:
        """In the order of ``splits``."""
        inside = {self.photos[i].split for i in group.photos}
        return tuple(split for split in self.splits if split in inside)

    def labels_of(self, group: Group) -> tuple[str, ...]:
        return tuple(sorted({self.photos[i].label for i in group.photos}))

    @property
    def leaked(self) -> dict[str, int]:
        """Photos of val and test that have a near-duplicate in train, by split."""
        found = {split: 0 for split in self.splits if split in ("val", "test")}
        for group in self.groups:
            if "train" in self.splits_of(group):
                for i in group.photos:
                    if self.photos[i].split in found:
                        found[self.photos[i].split] += 1
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it but the pictures."""
        readable = [photo for photo in self.photos if not photo.bad]
        sizes = Counter((p.width, p.height) for p in readable)
        return {
            "root": str(self.root),
            "photos": len(self.photos),
            "classes": self.counts,
            "splits": list(self.splits),
            "stray": list(self.stray),
            "bad": [{"name": p.name, "reason": p.bad} for p in self.bad],
            "odd": [{"name": p.name, "notes": list(p.notes)} for p in self.odd],
            "sizes": [{"width": w, "height": h, "photos": n} for (w, h), n in sizes.most_common()],
            "colour": asdict(self.colour),
            "colour_by_class": {label: asdict(colour) for label, colour in self.by_class.items()},
            "duplicates": {
                "bits": BITS,
                "limit": LIMIT,
                "correlation": ALIKE,
                "leaked": self.leaked,
                "groups": [
                    {
                        "photos": [self.photos[i].name for i in group.photos],
                        "splits": list(self.splits_of(group)),
                        "labels": list(self.labels_of(group)),
                        "bits": group.bits,
                        "turn": group.turn,
                        "same_pixels": group.same,
                    }
                    for group in self.groups
                ],
            },
            "labels": None if self.labels is None else self._labels_json(self.labels),
        }

    def _labels_json(self, check: LabelCheck) -> dict[str, Any]:
        return {
            "features": self.features,
            "checked": check.checked,
            "accuracy": check.accuracy,
            "chance": check.chance,
            "left_out": [self.classes[c] for c in check.left_out],
            "matrix": [list(row) for row in check.matrix],
            "suspicious": [
                {
                    "name": self.photos[one.row].name,
                    "label": self.classes[one.label],
                    "looks_like": self.classes[one.looks_like],
                    "probability": one.other,
                    "probability_of_label": one.own,
                }
                for one in check.suspects
            ],
        }
