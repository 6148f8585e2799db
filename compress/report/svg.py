"""Marks as SVG: inside the page, coloured by its style sheet, or as a file of its own."""

from __future__ import annotations

from html import escape

from compress.report.marks import Bar, Dot, Figure, Line, Mark, Role, Text

LIGHT: dict[Role, str] = {  # style.css on white
    "ink": "#1a1f24",
    "muted": "#56606b",
    "line": "#d5dbe1",
    "accent": "#0b5cb8",
    "better": "#0b5cb8",
    "worse": "#a8440a",
    "pale": "#b9c2cb",
    "mark": "#dbe8f7",
}
FILE_WIDTH, MARGIN = 880, 24


def inline(figure: Figure) -> str:
    """The SVG element of a page: as wide as its place, reached by the Tab key, read out by its summary."""
    wide = f' style="min-width:{figure.min_width}px"' if figure.min_width else ""
    return (
        f'<svg id="fig-{figure.name}" height="{figure.height:g}"{wide} role="img" tabindex="0" '
        f'aria-labelledby="{figure.name}-t {figure.name}-d">'
        f'<title id="{figure.name}-t">{escape(figure.title)}</title>'
        f'<desc id="{figure.name}-d">{escape(figure.summary)}</desc>{_marks(figure)}</svg>'
    )


def file(figure: Figure) -> str:
    """The same as a file, on white, with its title and legend."""
    top = head(figure)
    width = max(FILE_WIDTH, figure.min_width)
    height = top + figure.height + MARGIN
    style = ":root{" + "".join(f"--{role}:{colour};" for role, colour in LIGHT.items()) + "}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 2 * MARGIN}" height="{height:g}" '
        f'font-family="system-ui, sans-serif" font-size="13">'
        f"<title>{escape(figure.title)}</title><desc>{escape(figure.summary)}</desc><style>{style}</style>"
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{MARGIN}" y="{MARGIN + 8}" font-size="16" font-weight="600" fill="{LIGHT["ink"]}">'
        f"{escape(figure.title)}</text>{_legend(figure)}"
        f'<svg x="{MARGIN}" y="{top:g}" width="{width}" height="{figure.height:g}" overflow="visible">'
        f"{_marks(figure)}</svg></svg>\n"
    )


def head(figure: Figure) -> int:
    """Pixels above the drawing in a file."""
    return MARGIN + (46 if figure.legend else 24)


def legend_places(figure: Figure) -> list[tuple[float, Role, str]]:
    """Left edge, colour and label of each entry of the legend in a file."""
    places, x = [], float(MARGIN)
    for role, label in figure.legend:
        places.append((x, role, label))
        x += 34 + 7.0 * len(label)
    return places


def _legend(figure: Figure) -> str:
    return "".join(
        f'<rect x="{x:g}" y="{MARGIN + 22}" width="11" height="11" rx="2" fill="{LIGHT[role]}"/>'
        f'<text x="{x + 16:g}" y="{MARGIN + 32}" fill="{LIGHT["muted"]}">{escape(label)}</text>'
        for x, role, label in legend_places(figure)
    )


def _marks(figure: Figure) -> str:
    return "".join(_mark(mark) for mark in figure.marks)


def _mark(mark: Mark) -> str:
    if isinstance(mark, Bar):
        left, width = min(mark.x0, mark.x1), abs(mark.x1 - mark.x0)
        return (
            f'<rect x="{_share(left)}" y="{mark.y:g}" width="{_share(width)}" height="{mark.height:g}" '
            f"{_paint('fill', mark.role)}{_opacity(mark.opacity)}{_tip(mark.tip)}"
        )
    if isinstance(mark, Line):
        dashes = ' stroke-dasharray="4 4"' if mark.dashed else ""
        return (
            f'<line x1="{_share(mark.x0)}" y1="{mark.y0:g}" x2="{_share(mark.x1)}" y2="{mark.y1:g}" '
            f'stroke-width="{mark.width:g}"{dashes} {_paint("stroke", mark.role)}/>'
        )
    if isinstance(mark, Dot):
        paint = _paint("fill", mark.role)
        if mark.hollow:
            paint = f'style="fill:var(--bg, #fff);stroke:var(--{mark.role})" stroke-width="1.8"'
        return f'<circle cx="{_share(mark.x)}" cy="{mark.y:g}" r="{mark.radius:g}" {paint}{_tip(mark.tip)}'
    return _text(mark)


def _text(mark: Text) -> str:
    anchor = f' text-anchor="{mark.anchor}"' if mark.anchor != "start" else ""
    dx = f' dx="{mark.dx:g}"' if mark.dx else ""
    size = f' font-size="{mark.size}"' if mark.size != 13 else ""
    halo = "stroke:var(--bg, #fff);stroke-width:4px;paint-order:stroke;" if mark.halo else ""
    return (
        f'<text x="{_share(mark.x)}" y="{mark.y:g}"{dx}{anchor}{size} style="{halo}fill:var(--{mark.role})">'
        f"{escape(mark.text)}</text>"
    )


def _share(x: float) -> str:
    return f"{100 * x:.2f}".rstrip("0").rstrip(".") + "%"


def _paint(what: str, role: Role) -> str:
    return f'style="{what}:var(--{role})"'


def _opacity(value: float) -> str:
    return f' fill-opacity="{value:.2f}"' if value != 1 else ""


def _tip(tip: str) -> str:
    return f' data-tip="{escape(tip)}"/>' if tip else "/>"
