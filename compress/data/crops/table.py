"""What became of every box: the manifest, and its counts."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.notes import few
from compress.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

OF_THE_PHOTO = ("missing", "unreadable", "size")  # reasons that tell of a photo, not of a box


@dataclass(frozen=True)
class Row:
    """One box: as annotated, and the file it was cut to (relative to the set) or the reason why not."""

    image_id: int
    image: str
    annotation_id: int
    category: str
    label: str
    x: float
    y: float
    width: float
    height: float
    split: str
    file: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Made:
    """A set of crops.

    Attributes:
        out: its folder.
        rows: every box of the annotation file, by image and annotation id.
        wrote: files written now; the others were there.
        photos: photos with a box to cut out.
        max_bad: part of them that may be unusable.
    """

    out: Path
    rows: tuple[Row, ...]
    wrote: int
    photos: int
    max_bad: float

    def counts(self) -> Counter[tuple[str, str]]:
        """Boxes by (class, split) where kept, by (class, reason) where not; the class of a dropped
        category is ""."""
        return Counter((row.label, row.reason or row.split) for row in self.rows)

    def bad(self) -> dict[str, str]:
        """Photos that cannot be used, and why."""
        return {r.image: f"{r.reason}: {r.detail}" for r in self.rows if r.reason in OF_THE_PHOTO}

    def check(self) -> None:
        """Whether enough photos could be used, and a box was left.

        Raises:
            InputError: more than ``max_bad`` of the photos could not be used, the crops of the others are
                there; or no box was left to cut out.
        """
        bad = self.bad()
        if len(bad) > self.max_bad * self.photos:
            named = few((f"{name} ({why})" for name, why in bad.items()), 5)
            raise InputError(
                f"{len(bad)} of {self.photos} photos ({len(bad) / self.photos:.1%}) cannot be used, and "
                f"max_bad is {self.max_bad:g}: {named}. The crops of the others are there; get these photos "
                "and run again, or --set max_bad="
            )
        dropped = Counter(row.reason for row in self.rows)
        if not dropped[""]:
            why = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common())
            left = f"no crop: none of {len(self.rows)} boxes is left"
            raise InputError(f"{left} ({why})" if why else left)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """A CSV file, whole or not at all; a number that was none is left empty."""
    scratch = path.with_name(f".{path.name}.part")
    with open(scratch, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow("class" if f.name == "label" else f.name for f in fields(Row))
        for row in rows:
            out.writerow("" if value != value else value for value in astuple(row))
    os.replace(scratch, path)


def table(made: Made) -> Table:
    """Counts by class, split and reason, for a terminal."""
    from rich.table import Table

    counts = made.counts()
    order = ("train", "val", "test", "small", "aspect", "overlap", *OF_THE_PHOTO, "crowd", "empty", "outside")
    columns = [c for c in (*order, "category") if any(column == c for _, column in counts)]
    out = Table(title=f"{made.out}: {sum(not r.reason for r in made.rows)} crops of {len(made.rows)} boxes")
    out.add_column("class")
    for column in columns:
        out.add_column(column, justify="right")
    labels = sorted({label for label, _ in counts if label})
    for label in [*labels, ""]:
        row = [counts[label, column] for column in columns]
        if any(row):
            out.add_row(label or "(dropped)", *[str(n or "") for n in row], end_section=label == labels[-1])
    out.add_row("all", *[str(sum(counts[label, c] for label in [*labels, ""])) for c in columns])
    return out
