"""Figures as SVG text, drawn by matplotlib; colours follow the page's theme."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

_INK = "#808080"  # readable on white and on black
_KEPT, _DROPPED = "#2a7de1", "#b0b0b0"


def waterfall(rows: Sequence[Row]) -> str:
    """The score on val and test, stage by stage; lower is better."""
    measured = [row for row in rows if row["score_val"] is not None]
    figure, axes = _blank(len(measured))
    places = range(len(measured))
    colours = [_KEPT if row["kept"] else _DROPPED for row in measured]
    axes.bar(
        [p - 0.2 for p in places], [row["score_val"] for row in measured], 0.38, color=colours, label="val"
    )
    tests = [row["score_test"] for row in measured]
    spans = [row["score_test_interval"] for row in measured]
    errors = [
        [max(0.0, t - s[0]) for t, s in zip(tests, spans, strict=True)],
        [max(0.0, s[1] - t) for t, s in zip(tests, spans, strict=True)],
    ]
    axes.bar(
        [p + 0.2 for p in places], tests, 0.38, yerr=errors, color=colours, alpha=0.55, ecolor=_INK, capsize=3
    )
    axes.axhline(measured[0]["score_val"], color=_INK, linewidth=0.8, linestyle=":")
    axes.set_xticks(list(places), [row["label"] for row in measured])
    axes.set_ylabel("score (lower is better)")
    axes.set_title(
        "Score by stage: val (full) and test (pale, 95 %); grey was not kept", fontsize=10, color=_INK
    )
    return _svg(figure)


def f1_against_time(rows: Sequence[Row]) -> str:
    """Macro F1 on test against the paired time ratio: times of different moments do not compare."""
    measured = [row for row in rows if row["f1_test"] is not None]
    figure, axes = _blank(5)
    for row in measured:
        x, y = row["latency_ratio"], row["f1_test"]
        low, high = row["f1_test_interval"]
        colour = _KEPT if row["kept"] else _DROPPED
        error = [[max(0.0, y - low)], [max(0.0, high - y)]]
        axes.errorbar([x], [y], yerr=error, fmt="o", color=colour, ecolor=colour, capsize=3)
        axes.annotate(row["label"], (x, y), xytext=(6, 6), textcoords="offset points", fontsize=9, color=_INK)
    axes.set_xlim(left=0)
    axes.margins(x=0.15)
    axes.set_xlabel("time of one image, relative to the baseline")
    axes.set_ylabel("macro F1 on test")
    axes.set_title("F1 against time, 95 % intervals", fontsize=10, color=_INK)
    return _svg(figure)


def _blank(places: int) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # no pyplot: no global state, no window system

    figure = Figure(figsize=(max(5.5, 1.3 * places), 3.6), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.tick_params(colors=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    for side in axes.spines.values():
        side.set_color(_INK)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
