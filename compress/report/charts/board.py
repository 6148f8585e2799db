"""A leaderboard drawn: where each recipe stands, and F1 against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compress.report.charts.scatter import Point, scatter
from compress.report.marks import Dot, Figure, Line, Mark, Role, Text, grid, scale, short, ticks

if TYPE_CHECKING:
    from compress.compare import Entry

_ROW = 40
_TITLES = {
    "score_val": "Score on val, lower is better",
    "score_test": "Score on test, lower is better",
    "f1_val": "F1 on val, higher is better",
    "f1_test": "F1 on test, higher is better",
}


def standing(entries: Sequence[Entry], by: str) -> Figure:
    """What ranks them, with intervals, best first."""
    values: list[Any] = [getattr(entry, by) for entry in entries]
    low, high = min(v.low for v in values), max(v.high for v in values)
    pad = 0.05 * (high - low or 1.0)
    x, bottom = scale(low - pad, high + pad), _ROW * len(entries)
    marks: list[Mark] = grid(ticks(low, high), x, 0, bottom)
    for i, (entry, value) in enumerate(zip(entries, values, strict=True)):
        y = _ROW * i
        role: Role = "accent" if entry.rank == 1 else "muted"
        seeds = f", {len(entry.seeds)} seeds" if len(entry.seeds) > 1 else ""
        tip = f"{entry.name}{seeds}: {value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"
        marks += [
            Text(0, y + 14, f"{entry.rank}. {short(entry.name, 28)}", halo=True),
            Text(1, y + 14, f"{value.mean:.3f}", "muted", "end", size=12, halo=True),
            Line(x(value.low), y + 26, x(value.high), y + 26, role, 3),
            Dot(x(value.mean), y + 26, role, tip),
        ]
    return Figure(
        name="standing",
        title=_TITLES[by],
        summary=" ".join(f"{e.rank}: {e.name}, {v.mean:.3f}." for e, v in zip(entries, values, strict=True)),
        height=bottom + 22,
        marks=tuple(marks),
        columns=("recipe", "rank", "seeds", by, "from", "to"),
        rows=tuple(
            (e.name, e.rank, len(e.seeds), v.mean, v.low, v.high)
            for e, v in zip(entries, values, strict=True)
        ),
        legend=(("accent", "first, or tied with it"), ("muted", "behind")),
    )


def f1_and_time(entries: Sequence[Entry]) -> Figure | None:
    """The final models of all recipes; None where times do not compare."""
    points = [
        Point(
            label=entry.name,
            ms=entry.ms.mean,
            ms_interval=(entry.ms.low, entry.ms.high),
            f1=entry.f1_test.mean,
            f1_interval=(entry.f1_test.low, entry.f1_test.high),
            role="accent" if entry.rank == 1 else "muted",
        )
        for entry in entries
        if entry.ms is not None
    ]
    return scatter(points, (("accent", "first, or tied with it"), ("muted", "behind"))) if points else None
