"""Charts of a photo set: photos by class and split, spread of a measure, brightness by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from compress.report.marks import Anchor, Bar, Dot, Figure, Line, Mark, Role, Text, grid, scale, short, ticks

_ROW = 28
_SPLITS: dict[str, Role] = {"train": "accent", "val": "worse", "test": "muted", "all": "accent"}


def class_counts(counts: Mapping[str, Mapping[str, int]], splits: Sequence[str]) -> Figure:
    """A bar a class, split by split."""
    most = max(sum(row.values()) for row in counts.values())
    x, bottom = scale(0, most, 0.26, 0.9), _ROW * len(counts)
    marks: list[Mark] = grid(ticks(0, most, 4), x, 0, bottom)
    for i, (label, row) in enumerate(counts.items()):
        y, start = _ROW * i + 4, 0
        marks.append(Text(0, y + 14, short(label, 14)))
        for split in splits:
            end = start + row[split]
            tip = f"{label}, {split}: {row[split]:,}"
            if row[split]:
                marks.append(Bar(x(start), x(end), y, _ROW - 8, _SPLITS[split], tip, opacity=0.85))
            start = end
        marks.append(Text(x(start), y + 14, f"{start:,}", "muted", dx=6, size=12))
    return Figure(
        name="class-counts",
        title="Photos of each class",
        summary=" ".join(f"{label}: {sum(row.values())}." for label, row in counts.items()),
        height=bottom + 22,
        marks=tuple(marks),
        columns=("class", *splits, "together"),
        rows=tuple((label, *(row[s] for s in splits), sum(row.values())) for label, row in counts.items()),
        legend=tuple((_SPLITS[split], split) for split in splits),
    )


def histogram(values: Sequence[float], edges: Sequence[float], name: str, title: str) -> Figure:
    """How many of ``values`` lie between each two ``edges``; what lies outside counts in the outermost."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        inside = sum(value >= edge for edge in edges[1:-1])
        counts[inside] += 1
    height, width = 130.0, 1 / len(counts)
    y = scale(0, max(counts) or 1, 0, height)
    marks: list[Mark] = [Line(0, height, 1, height)]
    spans = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    for i, (count, span) in enumerate(zip(counts, spans, strict=True)):
        left = i * width
        tip = f"{span}: {count:,} photos"
        if count:
            marks.append(
                Bar(left + 0.04 * width, left + 0.96 * width, height - y(count), y(count), "accent", tip)
            )
    every = max(1, -(-len(edges) // 7))
    for i, edge in enumerate(edges):
        if i % every == 0:
            anchor: Anchor = "start" if not i else "end" if i == len(counts) else "middle"
            marks.append(Text(i * width, height + 16, f"{edge:g}", "muted", anchor, size=12))
    return Figure(
        name=name,
        title=title,
        summary="; ".join(f"{span}: {count}" for span, count in zip(spans, counts, strict=True) if count),
        height=height + 24,
        marks=tuple(marks),
        columns=("from", "to", "photos"),
        rows=tuple((float(a), float(b), n) for (a, b), n in zip(pairwise(edges), counts, strict=True)),
    )


def brightness(by_class: Mapping[str, tuple[float, float, float]]) -> Figure:
    """10th to 90th percentile of the photos' mean grey, and the median."""
    x, bottom = scale(0, 1, 0.26, 0.96), _ROW * len(by_class)
    marks: list[Mark] = grid((0, 0.25, 0.5, 0.75, 1), x, 0, bottom)
    for i, (label, (low, middle, high)) in enumerate(by_class.items()):
        y = _ROW * i + 15
        marks += [
            Text(0, y + 4, short(label, 14)),
            Line(x(low), y, x(high), y, "pale", 4),
            Dot(x(middle), y, "accent", f"{label}: {middle:.2f}, most from {low:.2f} to {high:.2f}"),
        ]
    return Figure(
        name="brightness",
        title="Brightness of the photos of each class",
        summary=" ".join(f"{label}: {row[1]:.2f}." for label, row in by_class.items()),
        height=bottom + 22,
        marks=tuple(marks),
        columns=("class", "10th percentile", "median", "90th percentile"),
        rows=tuple((label, *row) for label, row in by_class.items()),
        legend=(("accent", "median"), ("pale", "10th to 90th percentile")),
    )
