"""Macro F1 on test against the time of one image, both with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from compress.report.marks import Dot, Figure, Line, Mark, Role, Text, grid, scale, short, ticks

_BOTTOM, _TOP = 340, 24
HEIGHT = _BOTTOM + 44  # of a figure with ``axes``
_NARROW = 330  # pixels: labels are placed so that they stay apart even on a phone
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """A model; intervals are (low, high). ``hollow``: a ring; ``chained``: joined with the next such."""

    label: str
    ms: float
    ms_interval: tuple[float, float]
    f1: float
    f1_interval: tuple[float, float]
    role: Role
    hollow: bool = False
    chained: bool = False

    @property
    def tip(self) -> str:
        return (
            f"{self.label}: F1 {self.f1:.3f} ({self.f1_interval[0]:.3f} to {self.f1_interval[1]:.3f}), "
            f"{self.ms:.3f} ms ({self.ms_interval[0]:.3f} to {self.ms_interval[1]:.3f})"
        )


def f1_against_time(rows: Sequence[Mapping[str, Any]], base_ms: float) -> Figure:
    """The steps of a run.

    Times are the baseline's times each step's paired ratio: times of different moments do not compare.
    """
    points = []
    for row in rows:
        if row["f1_test"] is None:
            continue
        low, high = row["latency_ratio_interval"]
        points.append(
            Point(
                label=row["label"],
                ms=row["ms"],
                ms_interval=(base_ms * low, base_ms * high),
                f1=row["f1_test"],
                f1_interval=tuple(row["f1_test_interval"]),
                role="accent" if row["kept"] else "muted" if row["kind"] == "control" else "worse",
                hollow=not row["kept"],
                chained=row["kept"],
            )
        )
    return scatter(points, (("accent", "kept, in order along the line"), ("worse", "measured and not kept")))


def scatter(points: Sequence[Point], legend: tuple[tuple[Role, str], ...]) -> Figure:
    """F1 upwards, milliseconds from 0 to the right."""
    costs = [max(p.ms_interval[1], p.ms) for p in points]
    f1s = [end for p in points for end in p.f1_interval]
    x, y, marks = axes(costs, f1s, "F1 on test", "milliseconds an image, the model alone")
    for one, two in pairwise(p for p in points if p.chained):
        marks.append(Line(x(one.ms), y(one.f1), x(two.ms), y(two.f1), "muted", 1.5, True))
    taken: list[Box] = []
    labels: list[Mark] = []  # above all else
    for p in points:
        at, up = x(p.ms), y(p.f1)
        marks += [
            Line(at, y(p.f1_interval[0]), at, y(p.f1_interval[1]), p.role, 1.5),
            Line(x(p.ms_interval[0]), up, x(p.ms_interval[1]), up, p.role, 1.5),
            Dot(at, up, p.role, p.tip, hollow=p.hollow),
        ]
        labels.append(_label(short(p.label, 16), at, up, taken))
    return Figure(
        name="f1-time",
        title="F1 against time, with 95 % intervals",
        summary=" ".join(f"{p.tip}." for p in points),
        height=HEIGHT,
        marks=(*marks, *labels),
        columns=("model", "F1 test", "from", "to", "ms", "from", "to"),
        rows=tuple((p.label, p.f1, *p.f1_interval, p.ms, *p.ms_interval) for p in points),
        legend=legend,
    )


def axes(
    costs: Sequence[float], f1s: Sequence[float], up: str, across: str
) -> tuple[Callable[[float], float], Callable[[float], float], list[Mark]]:
    """F1 upwards, a cost from 0 to the right, both as far as the values reach.

    Returns:
        A cost to its x, an F1 to its y, and the grid with the names of both axes.
    """
    right = 1.08 * max(costs)
    pad = 0.08 * (max(f1s) - min(f1s) or 0.1)
    low, high = max(0.0, min(f1s) - pad), min(1.0, max(f1s) + pad)
    x, y = scale(0.0, right), scale(low, high, _BOTTOM, _TOP)
    marks: list[Mark] = []
    for value in ticks(low, high):
        label = Text(0, y(value) - 4, f"{value:g}", "muted", size=12, halo=True)
        marks += [Line(0, y(value), 1, y(value)), label]
    marks += grid(ticks(0, right), x, _BOTTOM, _BOTTOM + 5)
    marks += [
        Text(0, 8, f"{up}, up is better", "muted", size=12),
        Text(1, _BOTTOM + 38, f"{across}, left is better", "muted", "end", size=12),
    ]
    return x, y, marks


def _label(text: str, x: float, y: float, taken: list[Box]) -> Text:
    """The label where it covers no other: right of its dot, left, or further and further off."""
    width = 7 * len(text) + 4
    places = [(side, dy) for dy in (-8, 18, -24, 34, -40, 50, -56, 66) for side in (1, -1)]
    for side, dy in places:
        left = x * _NARROW + (8 if side > 0 else -8 - width)
        box = (left, y + dy - 12, left + width, y + dy + 3)
        inside = left >= 0 and box[2] <= _NARROW and box[1] >= 0
        if inside and not any(_overlap(box, other) for other in taken):
            break
    taken.append(box)
    return Text(x, y + dy, text, "ink", "start" if side > 0 else "end", dx=8 * side, halo=True)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
