"""Steps as a table, in a notebook and at a prompt."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from compress.htmltable import html_table
from compress.report.tables import FIELDS, Row, terminal, with_ms
from compress.step import Step


def table(steps: Iterable[Step]) -> StepTable:
    """The steps of a run, the baseline first, as the table that the command line prints.

    >>> table(run(recipe))
    """
    kept = tuple(steps)
    return StepTable(kept, tuple(with_ms(step.to_dict() for step in kept)))


@dataclass(frozen=True)
class StepTable:
    """What ``table`` gives; ``steps`` are the steps themselves."""

    steps: tuple[Step, ...]
    rows: tuple[Row, ...] = field(repr=False)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=160).print(terminal(self.rows, width=160))
        return text.getvalue().rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = [*(field.name for field in FIELDS), "why"]
        lines = [[*(field.text(row) for field in FIELDS), str(row["why"])] for row in self.rows]
        return html_table(columns, lines, right=columns[2:-1])
