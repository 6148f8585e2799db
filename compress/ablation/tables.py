"""The ablation's tables: for a terminal, for Markdown, for a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from compress.ablation.estimates import Estimate
from compress.htmltable import html_table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from compress.ablation.effects import Effect, Interaction
    from compress.ablation.ranking import Rank

T = TypeVar("T")
Columns = Sequence[tuple[str, Callable[[T], str]]]  # those of numbers are aligned to the right


@dataclass(frozen=True)
class Table(Sequence[T], Generic[T]):
    """Rows that know how they are shown."""

    title: str
    columns: Columns[T]
    rows: Sequence[T]

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)

    def cells(self) -> list[list[str]]:
        """The texts, a list for each row."""
        used = self._used()
        return [[show(row) for _, show in used] for row in self.rows]

    def heads(self) -> list[str]:
        return [name for name, _ in self._used()]

    def _used(self) -> Columns[T]:
        """Columns that say something: not one empty throughout, nor a runtime that is always the same."""
        texts = {name: {show(row) for row in self.rows} for name, show in self.columns}
        dull = {
            name for name, found in texts.items() if found == {""} or (name == "runtime" and len(found) < 2)
        }
        return [(name, show) for name, show in self.columns if name not in dull]

    def rich(self) -> RichTable:
        """For a terminal."""
        from rich.table import Table as RichTable

        table = RichTable(title=self.title, title_justify="left", header_style="bold")
        for index, name in enumerate(self.heads()):
            table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
        for cells in self.cells():
            table.add_row(*cells)
        return table

    def markdown(self) -> str:
        head = self.heads()
        ruler = ["---" if index == 0 else "---:" for index in range(len(head))]
        body = [[cell.replace("|", r"\|") for cell in row] for row in self.cells()]
        return "\n".join("| " + " | ".join(line) + " |" for line in [head, ruler, *body])

    def _repr_html_(self) -> str:
        head = self.heads()
        return html_table(head, self.cells(), self.title, right=head[1:])

    def __str__(self) -> str:
        return self.markdown()


def difference(value: Estimate) -> str:
    """A mean and half its interval, which is symmetric."""
    return f"{value.mean:+.3f} ± {(value.high - value.low) / 2:.3f}"


def ratio(value: Estimate) -> str:
    """A time ratio with its interval."""
    return f"x{value.mean:.3f} ({value.low:.2f} to {value.high:.2f})"


def chain_name(chain: Sequence[Any]) -> str:
    """Stages in their order, with the strengths that were swept."""
    return " > ".join(link_name(link.name, link.values) for link in chain) or "baseline"


def link_name(stage: str, values: Sequence[tuple[str, Any]]) -> str:
    """``prune`` or ``prune (target=0.3)``."""
    inner = ", ".join(f"{key.partition('].')[2]}={value}" for key, value in values)
    return f"{stage} ({inner})" if inner else stage


EFFECTS: Columns[Effect] = (
    ("stage", lambda e: link_name(e.stage, e.values)),
    ("verdict", lambda e: e.verdict),
    ("score val", lambda e: difference(e.score_val)),
    ("F1 val", lambda e: difference(e.f1_val)),
    ("time", lambda e: ratio(e.time)),
    ("score test", lambda e: difference(e.score_test)),
    ("contexts x seeds", lambda e: f"{e.contexts} x {e.seeds}"),
    ("skipped", lambda e: str(e.skipped) if e.skipped else ""),
    ("runtime", lambda e: e.runtime),
)
INTERACTIONS: Columns[Interaction] = (
    ("stages", lambda i: " and ".join(i.stages)),
    ("verdict", lambda i: i.verdict),
    ("score val", lambda i: difference(i.score_val)),
    ("score test", lambda i: difference(i.score_test)),
    ("contexts x seeds", lambda i: f"{i.contexts} x {i.seeds}"),
    ("runtime", lambda i: i.runtime),
)
RANKS: Columns[Rank] = (
    ("chain", lambda r: chain_name(r.chain)),
    ("same net as", lambda r: f"{len(r.same)} other{'s' * (len(r.same) > 1)}" if r.same else ""),
    ("score val", lambda r: f"{r.score_val:.3f}"),
    ("behind the best", lambda r: "best" if r.best else difference(r.behind)),
    ("tied", lambda r: "yes" if r.tied else "no"),
    ("score test", lambda r: f"{r.score_test:.3f}"),
    ("behind on test", lambda r: "" if r.best else difference(r.behind_test)),
    ("seeds", lambda r: str(r.seeds)),
    ("runtime", lambda r: r.runtime),
)
