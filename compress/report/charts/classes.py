"""Per class: F1 before and after, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compress.report.marks import Bar, Dot, Figure, Line, Mark, Role, Text, grid, scale, short, signed

_ROW = 30
_MOST = 24  # classes a matrix can show


def per_class(
    before: Mapping[str, float | None], after: Mapping[str, float | None], counts: Mapping[str, int]
) -> Figure:
    """F1 on test of every class, baseline and final; ``counts`` are its photos, where known."""
    x, bottom = scale(0, 1, 0.34, 0.84), _ROW * len(after) + 6
    marks: list[Mark] = grid((0, 0.25, 0.5, 0.75, 1), x, 0, bottom)
    for i, (name, new) in enumerate(after.items()):
        old, y = before.get(name), _ROW * i + 18
        marks.append(Text(0, y + 4, short(name, 15)))
        if old is None or new is None:
            marks.append(Text(1, y + 4, "not in test", "muted", "end", size=12))
            continue
        role: Role = "better" if new >= old else "worse"
        marks += [
            Line(x(old), y, x(new), y, role, 3),
            Dot(x(old), y, "muted", f"{name}: baseline {old:.3f}", hollow=True),
            Dot(x(new), y, role, f"{name}: final {new:.3f}, {signed(new - old)}"),
            Text(1, y + 4, signed(new - old), role, "end", size=12),
        ]
    rows = [
        (name, counts.get(name), before.get(name), new, _less(before.get(name), new))
        for name, new in after.items()
    ]
    return Figure(
        name="per-class",
        title="F1 of each class on test, baseline to final",
        summary=" ".join(f"{n}: {_shown(o)} to {_shown(f)}." for n, _, o, f, _ in rows),
        height=bottom + 22,
        marks=tuple(marks),
        columns=("class", "photos", "baseline", "final", "change"),
        rows=tuple(rows),
        legend=(("muted", "baseline (ring)"), ("better", "final, better"), ("worse", "final, worse")),
    )


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], name: str, title: str) -> Figure | None:
    """Rows are the true classes, columns what they were called; None where there are too many to draw."""
    n = len(labels)
    if n > _MOST or len(matrix) != n:
        return None
    longest = max(len(short(label, 11)) for label in labels)
    left, cell, head = 0.05 + 0.021 * longest, 34, 74
    width = (1 - left) / n
    marks: list[Mark] = []
    rows = []
    for i, row in enumerate(matrix):
        y, total = head + cell * i, sum(row)
        marks.append(Text(left, y + cell / 2 + 4, short(labels[i], 11), anchor="end", dx=-8, size=12))
        for j, count in enumerate(row):
            share = count / total if total else 0.0
            x = left + j * width
            role: Role = "better" if i == j else "worse"
            tip = f"{labels[i]} called {labels[j]}: {count} of {total}"
            marks.append(Bar(x, x + width * 0.96, y, cell - 2, "line", opacity=0.25))
            if count:
                marks.append(Bar(x, x + width * 0.96, y, cell - 2, role, tip, opacity=0.06 + 0.4 * share))
                marks.append(Text(x + width * 0.48, y + cell / 2 + 3, str(count), anchor="middle", size=12))
                rows.append((labels[i], labels[j], count, share))
    for j, label in enumerate(labels):  # in turn on two lines where they would run into each other
        x = left + (j + 0.48) * width
        line = j % 3 if n > 4 else 0
        marks += [
            Text(x, 14 + 17 * line, short(label, 10), "muted", "middle", size=11),
            Line(x, 19 + 17 * line, x, head - 4),
        ]
    wrong = sorted((row for row in rows if row[0] != row[1]), key=lambda row: -row[2])
    return Figure(
        name=name,
        title=title,
        summary="Most often wrong: "
        + ("; ".join(f"{a} called {b}, {count}" for a, b, count, _ in wrong[:3]) or "nothing")
        + ".",
        height=head + cell * n + 4,
        marks=tuple(marks),
        columns=("true class", "called", "photos", "share of the class"),
        rows=tuple(sorted(rows, key=lambda row: (row[0] == row[1], -row[2]))),
        min_width=round(24 * n / (1 - left)) if n > 10 else 0,
    )


def _less(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else new - old


def _shown(value: float | None) -> str:
    return "not in test" if value is None else f"{value:.3f}"
