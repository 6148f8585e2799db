"""The table of steps, for a terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
_NOTHING = "-"
_NO_STAGE = ("baseline", "control")


def number(form: str) -> Callable[[Any], str]:
    """A function that formats a number, and what was not measured as "-"."""
    return lambda value: _NOTHING if value is None else form.format(value)


def count(value: Any) -> str:
    """72155520 as 72.2 M."""
    if value is None:
        return _NOTHING
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)


def size(value: Any) -> str:
    """Bytes in KiB or MiB."""
    if value is None:
        return _NOTHING
    return f"{value / 2**20:.3g} MiB" if value >= 2**20 else f"{value / 1024:.3g} KiB"


@dataclass(frozen=True)
class Field:
    """A column of the table of steps.

    Attributes:
        value: what it takes from a row; ``show`` its text.
        spare: narrow terminals leave out the columns with the highest numbers first; 0 never.
        title: what it is, in a line.
    """

    name: str
    value: Callable[[Row], Any]
    show: Callable[[Any], str] = str
    spare: int = 0
    title: str = ""

    def text(self, row: Row) -> str:
        """The cell's text."""
        return self.show(self.value(row))


_THREE = number("{:.3f}")

TO_LABEL = Field("to label", lambda r: r.get("end_to_end_ratio"), _THREE, 8, "the same from photo to label")

FIELDS: tuple[Field, ...] = (
    Field("stage", lambda r: r["label"]),
    Field("kept", lambda r: verdict(r)),
    Field("F1 val", lambda r: r["f1_val"], _THREE, 3, "macro F1 on val, which gates decide on"),
    Field("F1 test", lambda r: r["f1_test"], _THREE, 0, "macro F1 on test, which decides nothing"),
    Field("ms", lambda r: r["ms"], _THREE, 4, "of the model alone: the baseline's times the paired ratio"),
    Field("ratio", lambda r: r["latency_ratio"], _THREE, 0, "that relative to the baseline, timed in turns"),
    TO_LABEL,
    Field("params", lambda r: r["params"], count, 7, "parameters"),
    Field("MACs", lambda r: r["macs"], count, 6, "multiply-accumulates of one image"),
    Field("size", lambda r: r["bytes"], size, 5, "of the exported model"),
    Field("score val", lambda r: r["score_val"], _THREE, 1, "the metric on val, lower is better"),
    Field("score test", lambda r: r["score_test"], _THREE, 0, "the metric on test, lower is better"),
)


def rows(report: Mapping[str, Any]) -> list[Row]:
    """Every step of a report in the order of the table: baseline, stages, control.

    Each with ``ms``: the baseline's time times the step's paired ratio, so that times of different moments
    compare.
    """
    control = report["control"]
    return with_ms([report["baseline"], *report["steps"], *([control] if control else [])])


def with_ms(steps: Iterable[Row]) -> list[Row]:
    """The same of a sequence of STEPs that begins with the baseline."""
    found = list(steps)
    base = found[0]["latency_ms"]["median"] if found else 0.0
    return [{**step, "ms": step["latency_ratio"] and base * step["latency_ratio"]} for step in found]


def dropped(row: Row) -> bool:
    """Whether a stage was measured or skipped and not kept; tables show it pale."""
    return verdict(row) in ("no", "skipped")


def verdict(row: Row) -> str:
    """The word in the column ``kept``."""
    if row["kind"] in _NO_STAGE:
        return _NOTHING
    if row["kept"]:
        return "yes"
    return "skipped" if row["f1_val"] is None else "no"


def terminal(steps: Sequence[Row], title: str = "", width: int = 132) -> Table:
    """A rich table of at most ``width`` characters, as far as the columns that may go allow."""
    from rich.table import Table

    fields = list(FIELDS)
    while _width(fields, steps) > width and any(field.spare for field in fields):
        fields.remove(max(fields, key=lambda field: field.spare))
    left_out = [field.name for field in FIELDS if field not in fields]
    caption = f"no room for {', '.join(left_out)}: see report.md" if left_out else None
    table = Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        header_style="bold",
    )
    for index, field in enumerate(fields):
        table.add_column(field.name, justify="left" if index < 2 else "right", no_wrap=True)
    for row in steps:
        table.add_row(*(field.text(row) for field in fields), style="dim" if dropped(row) else "")
    return table


def show(steps: Sequence[Row], title: str = "") -> None:
    """Print it as wide as the terminal allows, whole where there is none; then why a stage stayed or not."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(terminal(steps, title, console.width))
    for row in steps:
        if row["kind"] not in _NO_STAGE:
            line = f"{row['label']}: {'kept' if row['kept'] else 'not kept'}, {row['why']}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def _width(fields: Sequence[Field], steps: Sequence[Row]) -> int:
    """Of the table: each column has a border and a blank on both sides."""
    widest = [max(len(f.name), *(len(f.text(row)) for row in steps)) for f in fields]
    return sum(widest) + 3 * len(fields) + 1


def markdown(steps: Sequence[Row]) -> str:
    """The same as a Markdown table."""
    head = [field.name for field in FIELDS]
    ruler = ["---" if index < 2 else "---:" for index in range(len(head))]
    body = [[field.text(row).replace("|", r"\|") for field in FIELDS] for row in steps]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ruler, *body])
