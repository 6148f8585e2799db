"""The layers of a net as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.layers.times import LayerLine, correlations
from compress.report.tables import count
from compress.runtimes.profiling import UNATTRIBUTED

if TYPE_CHECKING:
    from rich.table import Table

    from compress.measure.guidelines import BlockGuide


def layer_table(lines: Sequence[LayerLine], title: str) -> Table:
    """A row a layer: counted, predicted by the guidelines (and the latency table), measured."""
    from rich.table import Table

    table = Table(title=title, header_style="bold", pad_edge=False, box=None)
    with_table = any(line.table_ms is not None for line in lines)
    for name in ("layer", "kind", "shape"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "MACs", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("against", overflow="fold")
    for name in ("predicted", *(("table us",) if with_table else ()), "us", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    costs, total = sum(line.cost or 0.0 for line in lines), sum(line.ms for line in lines) or 1.0
    for line in lines:
        extra = ("" if line.table_ms is None else f"{line.table_ms * 1e3:.1f}",) if with_table else ()
        table.add_row(
            line.name,
            line.kind,
            line.shape,
            *(count(value) if value else "" for value in (line.params, line.macs, line.memory)),
            ", ".join(line.against),
            "" if line.cost is None else f"{line.cost / costs:.1%}",
            *extra,
            f"{line.ms * 1e3:.1f}" if line.ms or line.kind == UNATTRIBUTED else "merged",
            f"{line.ms / total:.1%}",
        )
    return table


def layer_summary(lines: Sequence[LayerLine], whole_ms: float) -> list[str]:
    """How the layers add up, and how well each prediction ranks them."""
    watched = sum(line.watched_ms for line in lines)
    layers = [line for line in lines if line.cost is not None]
    ranks = ", ".join(f"{name} {rho:.2f}" for name, rho in correlations(lines).items())
    return [
        f"the whole net takes {whole_ms:.3f} ms; its layers together {watched:.3f} ms in the profiler"
        + (", which slows small ones: taken off here" if watched > whole_ms else ""),
        f"rank correlation with the measured time over {len(layers)} layers: {ranks}",
    ]


def block_lines(blocks: Sequence[BlockGuide]) -> list[str]:
    """A line for each guideline that speaks against blocks."""
    found: dict[str, list[str]] = {}
    for block in blocks:
        for text in block.against:
            rule, _, why = text.partition(" ")
            found.setdefault(rule, []).append(f"{block.name} ({why})")
    return [f"{rule} speaks against {', '.join(names)}" for rule, names in sorted(found.items())]
