"""`python -m compress doctor`: can this machine's timings be trusted right now?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from compress.doctor.diagnosis import Diagnosis


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    seconds: Annotated[float, typer.Option(min=0.2, help="How long to time a model against itself.")] = 3.0,
) -> int:
    """Say whether this machine's timings can be trusted right now; exit code 1 for `not now`."""
    import json

    from compress.doctor.diagnosis import examine

    found = examine(seconds)
    if as_json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        _show(found)
    return 1 if found.verdict == "not now" else 0


def _show(found: Diagnosis) -> None:
    from rich.console import Console
    from rich.markup import escape  # else beyondnas[ncnn] loses its brackets
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    colours = {"ok": "green", "absent": "dim", "care": "yellow", "bad": "red"}
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in found.findings:
        table.add_row(f"[{colours[one.state]}]{one.state}[/]", one.topic, escape(one.found))
    console.print(table)
    print(f"timed by {found.noise.note}")
    if found.noise.warning:
        print(f"warning: {found.noise.warning}")
    print(found.line)
