"""`python -m compress compare RUN...`: a leaderboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs that ended.")],
    by: Annotated[
        str, typer.Option(help="score_val, score_test (lower is better), f1_val or f1_test.")
    ] = "score_val",
    base: Annotated[
        Path | None, typer.Option(help="A run: all scores against its baseline, not each run's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    page: Annotated[Path | None, typer.Option("--html", help="Also write a page.")] = None,
) -> None:
    """Rank runs; seeds of one recipe count as one, ties are said, times of two machines refused."""
    from compress.compare import compare as compare_runs
    from compress.outputs import check_output
    from compress.report.compare_page import render, terminal
    from compress.store import write_text

    if page is not None:
        check_output(page, "--html")
    board = compare_runs(runs, by, base)
    if page is not None:
        write_text(page, render(board))
    if as_json:
        print(json.dumps(board.to_dict(), indent=1))
        return
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=160)).print(terminal(board))
    print(f"ranked by {board.by}, {'lower' if by.startswith('score') else 'higher'} is better; = is a tie")
    for note in board.notes:
        print(note)
    if page is not None:
        print(page)
