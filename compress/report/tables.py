"""The table of steps, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
_NOTHING = "-"


def number(form: str) -> Callable[[Any], str]:
    """A function that formats a number, and what was not measured as "-"."""
    return lambda value: _NOTHING if value is None else form.format(value)


def _count(value: Any) -> str:
    if value is None:
        return _NOTHING
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)


def _size(value: Any) -> str:
    return _NOTHING if value is None else f"{value / 1024:,.0f} KiB"


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("stage", lambda r: r["label"]),
    ("kept", lambda r: _verdict(r)),
    ("F1 val", lambda r: number("{:.3f}")(r["f1_val"])),
    ("F1 test", lambda r: number("{:.3f}")(r["f1_test"])),
    ("ms", lambda r: number("{:.3f}")(r["ms"])),
    ("ratio", lambda r: number("{:.3f}")(r["latency_ratio"])),
    ("params", lambda r: _count(r["params"])),
    ("MACs", lambda r: _count(r["macs"])),
    ("size", lambda r: _size(r["bytes"])),
    ("score val", lambda r: number("{:.3f}")(r["score_val"])),
    ("score test", lambda r: number("{:.3f}")(r["score_test"])),
)


def rows(report: Mapping[str, Any]) -> list[Row]:
    """Every step of a report in the order of the table: baseline, stages, control.

    Each with ``ms``: the baseline's time times the step's paired ratio, so that times of different moments
    compare.
    """
    base, control = report["baseline"], report["control"]
    steps = [base, *report["steps"], *([control] if control else [])]
    return [
        {**s, "ms": s["latency_ratio"] and base["latency_ms"]["median"] * s["latency_ratio"]} for s in steps
    ]


def dropped(row: Row) -> bool:
    """Whether a stage was measured or skipped and not kept; tables show it pale."""
    return _verdict(row) in ("no", "skipped")


def _verdict(row: Row) -> str:
    if row["kind"] in ("baseline", "control"):
        return _NOTHING
    if row["kept"]:
        return "yes"
    return "skipped" if row["f1_val"] is None else "no"


def terminal(steps: Sequence[Row], title: str = "") -> Table:
    """A rich table; lower scores are better."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for index, (name, _) in enumerate(COLUMNS):
        table.add_column(name, justify="left" if index < 2 else "right", no_wrap=True)
    for row in steps:
        table.add_row(*(cell(row) for _, cell in COLUMNS), style="dim" if dropped(row) else "")
    return table


def markdown(steps: Sequence[Row]) -> str:
    """The same as a Markdown table."""
    head = [name for name, _ in COLUMNS]
    ruler = ["---" if index < 2 else "---:" for index in range(len(head))]
    body = [[cell(row) for _, cell in COLUMNS] for row in steps]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ruler, *body])
