"""`python -m compress bench ARTIFACT...`: times on this machine, which may be the device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from compress.bench.result import Bench
    from compress.ratio import Ratio


def bench(
    artifacts: Annotated[
        list[Path],
        typer.Argument(metavar="ARTIFACT...", help="Exported models; a run's folder stands for its two."),
    ],
    data: Annotated[Path | None, typer.Option(help="Photos: times them to their labels, too.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="About how long to time.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Instead of what each was exported for.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for `report RUN --timing`.")] = False,
) -> None:
    """Time exported models beside each other, relative to the first (no torch needed)."""
    from compress.bench.run import bench as measure

    found = measure(artifacts, data=data, seconds=seconds, threads=threads)
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        _show(found)


def _show(found: Bench) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    photos = found.artifacts[0].whole is not None
    table = Table(header_style="bold")
    for name in ("artifact", "runtime"):
        table.add_column(name, overflow="fold")
    of_photos = ("end to end ms", "its ratio") if photos else ()
    for name in ("median ms", "p10", "p90", "ratio", "95 %", *of_photos, "size KiB", "load ms", "memory MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for i, one in enumerate(found.artifacts):
        ratio, times, whole = one.ratio, one.latency_ms, one.whole
        to_label: tuple[str, ...] = ()
        if one.end_to_end_ms is not None and whole is not None:
            to_label = f"{one.end_to_end_ms.median:.3f}", _ratio(whole, i)
        table.add_row(
            escape(one.name),
            one.runtime + (" int8" if one.int8 else ""),
            *(f"{ms:.3f}" for ms in (times.median, times.p10, times.p90)),
            _ratio(ratio, i),
            f"{ratio.low:.3f} to {ratio.high:.3f}" if i else "",
            *to_label,
            f"{one.bytes / 1024:,.0f}",
            f"{one.load_ms:,.0f}",
            "-" if one.memory_bytes is None else f"{one.memory_bytes / 2**20:,.1f}",
        )
    console.print(table)
    print(
        f"{found.machine['cpu']}; batch 1, {found.images}. ratio: relative to the first, timed in turns. "
        "load: to the first answer of a fresh process. memory: its peak, less what Python and numpy took."
        + (" end to end: from a photo's bytes to its label." if photos else "")
    )
    if found.warning:
        print(f"warning: {found.warning}")


def _ratio(ratio: Ratio, row: int) -> str:
    return "1" if not row else "tie" if ratio.tie else f"{ratio.median:.3f}"
