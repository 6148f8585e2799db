"""The page of `data eda`: one file, readable offline, with the photos it speaks of."""

from __future__ import annotations

import io
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.data.decode import UPRIGHT, opened, orientation, rgb
from compress.data.eda.duplicates import ALIKE, BITS, LIMIT
from compress.data.eda.facts import Eda, Group
from compress.data.eda.findings import findings
from compress.data.eda.photos import Photo
from compress.data.notes import few
from compress.report import html
from compress.report.charts.classes import confusion
from compress.report.charts.photos import brightness, class_counts, histogram
from compress.report.html import Cell, Column
from compress.report.marks import Figure

_RATIOS = (0.25, 0.33, 0.5, 0.67, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0)  # edges of the histogram
_SHEET, _SHEETS = 14, 280  # photos shown of a class, of all classes together
_GROUPS, _OF_GROUP, _SUSPECTS, _FILES = 30, 4, 36, 60
_THUMB = 160  # pixels of the longer side; about 4 KB
_QUALITIES, _MOST = (68, 45, 25), 7_000  # a thumbnail that is larger in bytes takes the next quality

_SECTIONS = (
    ("findings", "Findings"),
    ("classes", "Classes"),
    ("duplicates", "Near-duplicates"),
    ("labels", "Suspicious labels"),
    ("samples", "Samples"),
    ("sizes", "Sizes"),
    ("colour", "Colour"),
    ("files", "Files"),
    ("method", "Method"),
)


@dataclass(frozen=True)
class Shown:
    """A photo on the page: its data address, and lines below it."""

    source: str
    name: str
    label: str
    split: str
    note: str = ""


def render(eda: Eda, seed: int = 0) -> str:
    """The page; it reads the photos that it shows from ``eda.root``. ``seed``: of the samples."""
    readable = [photo for photo in eda.photos if not photo.bad]
    shape = float(np.clip(np.median([photo.ratio for photo in readable]), 0.75, 1.5))
    return html.render(
        "eda.html",
        eda=eda,
        title=eda.root.resolve().name,
        sections=_SECTIONS,
        headings=dict(_SECTIONS),
        shape=f"{shape:.2f}",
        tiles=_tiles(eda),
        findings=findings(eda),
        figures={figure.name: figure for figure in _figures(eda, readable)},
        groups=[_group(eda, group) for group in eda.groups[:_GROUPS]],
        suspects=_suspects(eda),
        samples=_samples(eda, seed),
        swatches=[(label, _css(c.mean), c) for label, c in eda.by_class.items()],
        files=_files(eda),
        stray=few(eda.stray, _FILES),
        sizes=_sizes(eda),
        limits={"bits": BITS, "limit": LIMIT, "alike": ALIKE, "groups": _GROUPS, "files": _FILES},
    )


def _tiles(eda: Eda) -> list[dict[str, str]]:
    readable = len(eda.photos) - len(eda.bad)
    per_split = Counter(photo.split for photo in eda.photos if not photo.bad)
    suspects = len(eda.labels.suspects) if eda.labels else 0
    leaked = sum(eda.leaked.values())
    grouped = sum(len(group.photos) for group in eda.groups)
    totals = [sum(row.values()) for row in eda.counts.values()]
    tiles = [
        _tile("Photos", f"{readable:,}", ", ".join(f"{split} {per_split[split]:,}" for split in eda.splits)),
        _tile("Classes", str(len(eda.classes)), f"of {min(totals):,} to {max(totals):,} photos"),
        _tile("Photos with a near-duplicate", f"{grouped:,}", f"groups of them: {len(eda.groups):,}"),
        _tile("Suspicious labels", f"{suspects:,}", _probe(eda)),
        _tile("Unreadable", f"{len(eda.bad):,}", f"{len(eda.odd):,} more are odd"),
    ]
    if eda.leaked:
        splits = " and ".join(eda.leaked)
        tiles.insert(3, _tile(f"Of {splits} also in train", f"{leaked:,}", "nearly the same photo"))
    return tiles


def _tile(name: str, value: str, note: str) -> dict[str, str]:
    return {"name": name, "value": value, "note": note}


def _probe(eda: Eda) -> str:
    return f"the probe gets {100 * eda.labels.accuracy:.0f} % right" if eda.labels else "not checked"


def _figures(eda: Eda, readable: Sequence[Photo]) -> Iterator[Figure]:
    yield class_counts(eda.counts, eda.splits)
    if len({(photo.width, photo.height) for photo in readable}) > 1:
        sides = [min(photo.width, photo.height) for photo in readable]
        yield histogram(sides, _round_edges(sides), "sides", "Shorter side, pixels")
        yield histogram([photo.ratio for photo in readable], _RATIOS, "ratios", "Width over height")
    yield brightness({label: _three(c.brightness) for label, c in eda.by_class.items()})
    if eda.labels is not None:
        title = "Labels (rows) and what the probe says (columns)"
        drawn = confusion(eda.labels.matrix, eda.classes, "probe", title)
        if drawn is not None:
            yield drawn


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = values
    return low, middle, high


def _round_edges(values: Sequence[int]) -> list[float]:
    """Ten steps of a round size over the values; one value has one step of its own."""
    low, high = min(values), max(values)
    size = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000) if (high - low) / s <= 12)
    start = low // size * size
    return [float(start + i * size) for i in range((high - start) // size + 2)]


def _group(eda: Eda, group: Group) -> dict[str, Any]:
    shown = [eda.photos[i] for i in group.photos[:_OF_GROUP]]
    splits, labels = eda.splits_of(group), eda.labels_of(group)
    marks = [f"in {' and '.join(splits)}"] if len(splits) > 1 else []
    marks += [f"labelled {' and '.join(labels)}"] if len(labels) > 1 else []
    apart = "the same pixels" if group.same else f"{group.bits} of {BITS} bits differ"
    return {
        "marks": marks,
        "note": ", ".join(filter(None, [apart, group.turn])),
        "photos": [_shown(eda, photo) for photo in shown],
        "more": len(group.photos) - len(shown),
    }


def _suspects(eda: Eda) -> list[Shown]:
    if eda.labels is None:
        return []
    return [
        _shown(eda, eda.photos[one.row], f"looks like {eda.classes[one.looks_like]}, {100 * one.other:.0f} %")
        for one in eda.labels.suspects[:_SUSPECTS]
    ]


def _samples(eda: Eda, seed: int) -> list[tuple[str, int, list[Shown]]]:
    """Of every class some, drawn at random."""
    rng = np.random.default_rng(seed)
    each = max(3, min(_SHEET, _SHEETS // len(eda.classes)))
    out = []
    for label in eda.classes[: _SHEETS // each]:
        photos = [photo for photo in eda.photos if photo.label == label and not photo.bad]
        some = sorted(rng.permutation(len(photos))[:each].tolist())
        out.append((label, len(photos), [_shown(eda, photos[i]) for i in some]))
    return out


def _files(eda: Eda) -> tuple[list[Column], list[html.Row], int]:
    """Unreadable ones, then odd ones."""
    listed = [(photo, "cannot be read", photo.bad) for photo in eda.bad]
    listed += [(photo, "odd", "; ".join(photo.notes)) for photo in eda.odd]
    columns = [Column("file", text=True), Column("what", text=True), Column("why", text=True, long=True)]
    columns += [Column("bytes")]
    rows = [
        html.Row((Cell(photo.name), Cell(what), Cell(why), Cell(f"{photo.bytes:,}", photo.bytes)))
        for photo, what, why in listed[:_FILES]
    ]
    return columns, rows, len(listed)


def _sizes(eda: Eda) -> tuple[list[Column], list[html.Row]]:
    common = Counter((p.width, p.height) for p in eda.photos if not p.bad).most_common(8)
    columns = [Column("size", text=True), Column("photos"), Column("width over height")]
    return columns, [
        html.Row((Cell(f"{w} x {h}", w * h), Cell(f"{count:,}", count), Cell(f"{w / h:.2f}")))
        for (w, h), count in common
    ]


def _css(mean: Sequence[float]) -> str:
    return "rgb({} {} {})".format(*(round(255 * value) for value in mean))


def _shown(eda: Eda, photo: Photo, note: str = "") -> Shown:
    return Shown(_thumbnail(eda, photo), photo.name.rsplit("/", 1)[-1], photo.label, _split(eda, photo), note)


def _split(eda: Eda, photo: Photo) -> str:
    return photo.split if len(eda.splits) > 1 else ""


def _thumbnail(eda: Eda, photo: Photo) -> str:
    """A data address of the photo, upright and in its own proportions."""
    from PIL import Image

    with opened(eda.root / photo.name) as image:
        image.draft(None, (2 * _THUMB, 2 * _THUMB))
        small = rgb(image)
        small.thumbnail((_THUMB, _THUMB), Image.Resampling.BILINEAR)
        turned = orientation(image)
    if turned in UPRIGHT:
        small = small.transpose(UPRIGHT[turned])
    for quality in _QUALITIES:
        out = io.BytesIO()
        small.save(out, "JPEG", quality=quality, optimize=True)
        if len(out.getvalue()) <= _MOST:
            break
    return f"data:image/jpeg;base64,{b64encode(out.getvalue()).decode()}"
