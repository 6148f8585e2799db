"""The leaderboard of runs: for a terminal and as a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from compress.report import html
from compress.report.charts.board import f1_and_time, standing
from compress.report.html import Cell, Column
from compress.report.marks import Figure
from compress.report.tables import count, size

if TYPE_CHECKING:
    from rich.table import Table

    from compress.comparable import Estimate
    from compress.compare import Board, Entry

_COLUMNS: tuple[tuple[str, Callable[[Entry], Any], Callable[[Any], str]], ...] = (
    ("rank", lambda e: e.rank, str),
    ("recipe", lambda e: e.name, str),
    ("seeds", lambda e: len(e.seeds), str),
    ("kept", lambda e: ", ".join(e.kept) or "nothing", str),
    ("score val", lambda e: e.score_val, lambda v: span(v)),
    ("score test", lambda e: e.score_test, lambda v: span(v)),
    ("F1 val", lambda e: e.f1_val, lambda v: span(v)),
    ("F1 test", lambda e: e.f1_test, lambda v: span(v)),
    ("ms", lambda e: e.ms, lambda v: span(v)),
    ("ratio", lambda e: e.ratio, lambda v: span(v)),
    ("params", lambda e: e.params, count),
    ("size", lambda e: e.bytes, size),
    ("runtime", lambda e: e.runtime, str),
)
_MOST = 8  # differences named in a cell
_TEXT = ("recipe", "kept", "runtime")


def span(value: Estimate | None) -> str:
    """A figure and how sure it is; "-" where there is none."""
    return "-" if value is None else f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"


def place(entry: Entry, entries: Sequence[Entry]) -> str:
    """The rank; "=" before it when others have it too."""
    return ("=" if sum(other.rank == entry.rank for other in entries) > 1 else "") + str(entry.rank)


def terminal(board: Board) -> Table:
    """A rich table: figures without their intervals, which the page and --json have."""
    from rich.table import Table

    shown = [c for c in _COLUMNS if any(c[1](entry) is not None for entry in board.entries)]
    table = Table(header_style="bold")
    for name, _, _ in shown:
        table.add_column(name, justify="left" if name in _TEXT else "right", overflow="fold")
    for entry in board.entries:
        cells = []
        for name, value, show in shown:
            found = value(entry)
            plain = found is None or isinstance(found, str | int | float)
            cells.append(show(found) if plain else f"{found.mean:.3f}")
            if name == "rank":
                cells[-1] = place(entry, board.entries)
        table.add_row(*cells)
    return table


def figures(board: Board) -> dict[str, Figure]:
    """By name: where each entry stands, and F1 against time where times compare."""
    found = [standing(board.entries, board.by), f1_and_time(board.entries)]
    return {figure.name: figure for figure in found if figure is not None}


def render(board: Board) -> str:
    """One self-contained page."""
    columns = [Column(name, text=name in _TEXT) for name, _, _ in _COLUMNS]
    columns.insert(2, Column("what differs", text=True, long=True))
    lines = []
    for entry in board.entries:
        cells = [Cell(show(value(entry)), _key(value(entry))) for _, value, show in _COLUMNS]
        cells[0] = Cell(place(entry, board.entries), entry.rank)
        cells.insert(2, Cell(_differs(entry)))
        lines.append(html.Row(tuple(cells), "final" if entry.rank == 1 else ""))
    return html.render(
        "compare.html",
        board=board,
        sections=[("board", "Leaderboard"), ("figures", "Figures"), ("runs", "Runs")],
        table_of_entries=(columns, lines),
        figures=figures(board),
    )


def _key(value: Any) -> float | None:
    return html.key(getattr(value, "mean", value))


def _differs(entry: Entry) -> str:
    lines = [f"{key} {_short(value)}" for key, value in entry.differs.items()]
    more = len(lines) - _MOST
    return "; ".join(lines[:_MOST]) + (f"; {more} more, see --json" if more > 0 else "")


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 40 else text[:39] + "\u2026"
