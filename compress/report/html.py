"""Pages from templates, tables of a page, and tables of a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compress.htmltable import html_table as html_table
from compress.htmltable import shown as shown
from compress.report.marks import Figure
from compress.report.svg import inline


@dataclass(frozen=True)
class Column:
    """A column's heading; ``text`` is set left, ``long`` may also wrap, ``title`` explains it on hover."""

    name: str
    text: bool = False
    long: bool = False
    title: str = ""


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and what the table is sorted by where that is not what it shows."""

    text: str
    key: float | str | None = None


@dataclass(frozen=True)
class Row:
    """``style`` is a class of the page's style sheet: ``dropped``, ``final`` or nothing."""

    cells: tuple[Cell, ...]
    style: str = ""


def render(template: str, **content: Any) -> str:
    """A page of ``templates/``; it extends ``base.html``.

    ``base.html`` has the blocks ``title``, ``style``, ``header`` and ``main`` and wants ``sections``, the
    contents as (id, heading) pairs. ``macros.html`` has ``table(columns, rows, label)`` for the classes
    above, sortable by click and keyboard, and ``figure(figure)`` for a ``marks.Figure`` with its numbers.
    The result is one file that names nothing outside itself.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("compress.report"),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(draw=inline, numbers=numbers)
    return environment.get_template(template).render(**content)


def numbers(figure: Figure) -> tuple[list[Column], list[Row]]:
    """The table below a figure."""
    text = [all(isinstance(row[i], str) for row in figure.rows) for i in range(len(figure.columns))]
    columns = [Column(name, text=t) for name, t in zip(figure.columns, text, strict=True)]
    return columns, [Row(tuple(Cell(shown(value), key(value)) for value in row)) for row in figure.rows]


def key(value: Any) -> float | None:
    """What a number is sorted by; None for what is no number."""
    return value if isinstance(value, int | float) else None
