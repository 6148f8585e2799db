"""A figure as plain marks, drawn once for the page (SVG), for files (SVG) and for slides (PNG).

x runs from 0 to 1 over the width, whatever that is; y, radii and text are in pixels. So a figure fits a phone
and a desktop alike, and its text never shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["ink", "muted", "line", "accent", "better", "worse", "pale", "mark"]  # colours of style.css
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Bar:
    """A rectangle from x0 to x1 (either order); ``tip`` is what it says when pointed at."""

    x0: float
    x1: float
    y: float
    height: float
    role: Role
    tip: str = ""
    opacity: float = 1.0


@dataclass(frozen=True)
class Line:
    x0: float
    y0: float
    x1: float
    y1: float
    role: Role = "line"
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    role: Role
    tip: str = ""
    radius: float = 5.0
    hollow: bool = False


@dataclass(frozen=True)
class Text:
    """``y`` is the base line; ``dx`` moves it sideways, in pixels; ``halo`` keeps lines off it."""

    x: float
    y: float
    text: str
    role: Role = "ink"
    anchor: Anchor = "start"
    dx: float = 0.0
    size: int = 13
    halo: bool = False


Mark = Bar | Line | Dot | Text


@dataclass(frozen=True)
class Figure:
    """A drawing with what it shows in words and in numbers.

    Attributes:
        name: of its files, and its anchor on the page.
        summary: what to see in it, for those who do not see it too.
        columns, rows: the numbers drawn.
        min_width: in pixels; narrower screens scroll it.
    """

    name: str
    title: str
    summary: str
    height: float
    marks: tuple[Mark, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    legend: tuple[tuple[Role, str], ...] = ()
    min_width: int = 0

    def _repr_svg_(self) -> str:
        """For notebooks."""
        from compress.report.svg import file

        return file(self)


def short(text: str, length: int) -> str:
    """At most ``length`` characters; the end of a dotted name says more than its start."""
    if len(text) <= length:
        return text
    return "\u2026" + text[-(length - 1) :] if "." in text else text[: length - 1] + "\u2026"


def scale(low: float, high: float, start: float = 0.0, end: float = 1.0) -> Any:
    """A function from [low, high] to [start, end]; an empty range maps to the middle."""
    span = high - low
    return lambda value: start + (end - start) * ((value - low) / span if span else 0.5)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from low to high."""
    import math

    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    size = 10 ** math.floor(math.log10(raw))
    step = min((m * size for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def signed(value: float) -> str:
    """Three decimals with a sign, a true minus."""
    return f"{value:+.3f}".replace("-", "\u2212")


def grid(values: Sequence[float], at: Any, top: float, bottom: float) -> list[Mark]:
    """Vertical lines at ``values`` and their numbers below."""
    lines: list[Mark] = [Line(at(v), top, at(v), bottom) for v in values]
    for v in values:  # the outermost numbers stay inside
        anchor: Anchor = "start" if at(v) < 0.02 else "end" if at(v) > 0.98 else "middle"
        lines.append(Text(at(v), bottom + 16, f"{v:g}", "muted", anchor, size=12))
    return lines
