"""Marks as a PNG, for slides and chats, drawn by matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from compress.report.marks import Bar, Dot, Figure, Line, Mark, Text
from compress.report.svg import FILE_WIDTH, LIGHT, MARGIN, head, legend_places

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 144  # 1.5 pixels of the file for one of the page
_PIXEL = 72 / 96  # points
_ANCHOR = {"start": "left", "middle": "center", "end": "right"}


def png(figure: Figure) -> bytes:
    """The figure with its title and legend on white."""
    from matplotlib.figure import Figure as Canvas  # no pyplot: no global state, no window system

    width, top = max(FILE_WIDTH, figure.min_width), head(figure)
    size = (width + 2 * MARGIN, top + figure.height + MARGIN)
    canvas = Canvas(figsize=(size[0] / 96, size[1] / 96), dpi=_DPI, facecolor="white")
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.axis("off")
    axes.text(
        MARGIN,
        MARGIN + 8,
        figure.title,
        fontsize=15 * _PIXEL,
        weight="bold",
        color=LIGHT["ink"],
        parse_math=False,
    )
    for x, role, label in legend_places(figure):
        axes.add_patch(_rectangle(x, MARGIN + 22, 11, 11, LIGHT[role]))
        axes.text(x + 16, MARGIN + 32, label, fontsize=12 * _PIXEL, color=LIGHT["muted"])
    for order, mark in enumerate(figure.marks):
        _draw(axes, mark, width, top, order + 2)
    out = io.BytesIO()
    canvas.savefig(out, format="png")
    return out.getvalue()


def _draw(axes: Axes, mark: Mark, width: float, top: float, order: int) -> None:
    from matplotlib.patheffects import withStroke

    def x(share: float) -> float:
        return MARGIN + share * width

    if isinstance(mark, Bar):
        left, right = sorted((x(mark.x0), x(mark.x1)))
        patch = _rectangle(left, top + mark.y, right - left, mark.height, LIGHT[mark.role], mark.opacity)
        axes.add_patch(patch).set_zorder(order)
    elif isinstance(mark, Line):
        axes.plot(
            [x(mark.x0), x(mark.x1)],
            [top + mark.y0, top + mark.y1],
            color=LIGHT[mark.role],
            linewidth=mark.width * _PIXEL,
            linestyle="--" if mark.dashed else "-",
            zorder=order,
        )
    elif isinstance(mark, Dot):
        colour = LIGHT[mark.role]
        axes.plot(
            [x(mark.x)],
            [top + mark.y],
            "o",
            markersize=2 * mark.radius * _PIXEL,
            markerfacecolor="white" if mark.hollow else colour,
            markeredgecolor=colour,
            zorder=order,
        )
    elif isinstance(mark, Text):
        axes.text(
            x(mark.x) + mark.dx,
            top + mark.y,
            mark.text,
            parse_math=False,
            fontsize=mark.size * _PIXEL * 0.94,  # DejaVu runs wider than the screen's fonts
            color=LIGHT[mark.role],
            ha=_ANCHOR[mark.anchor],
            va="baseline",
            zorder=order,
            path_effects=[withStroke(linewidth=3, foreground="white")] if mark.halo else [],
        )


def _rectangle(x: float, y: float, width: float, height: float, colour: str, alpha: float = 1.0) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=colour, alpha=alpha, linewidth=0)
