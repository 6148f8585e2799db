"""A plain HTML table, for what a notebook shows of our objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import Any


def html_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", right: Collection[str] = ()
) -> str:
    """For ``_repr_html_``: None as "-", floats to three decimals, all escaped.

    Columns with no text in them, and those named in ``right``, are set to the right.
    """
    body = [list(row) for row in rows]
    align = [
        "left" if name not in right and all(isinstance(row[i], str) for row in body) else "right"
        for i, name in enumerate(columns)
    ]
    head = "".join(
        f'<th style="text-align:{a}">{escape(str(name))}</th>' for name, a in zip(columns, align, strict=True)
    )
    lines = [
        "<tr>"
        + "".join(
            f'<td style="text-align:{a}">{escape(shown(value))}</td>'
            for value, a in zip(row, align, strict=True)
        )
        + "</tr>"
        for row in body
    ]
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def shown(value: Any) -> str:
    """A cell's text: None as "-", floats to three decimals."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
