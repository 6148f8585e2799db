"""`python -m compress data eda DIR`: a photo set, looked at, as a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def eda(
    root: Annotated[
        Path, typer.Argument(metavar="DIR", help="Class folders, or train/, val/ and test/ with them.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The page to write; <DIR's name>-eda.html without.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; a page only with --out.")] = False,
    size: Annotated[int, typer.Option(min=32, max=512, help="Side at which photos are compared.")] = 160,
    turned: Annotated[
        bool, typer.Option("--turned", help="Mirrored and turned copies are near-duplicates too.")
    ] = False,
) -> None:
    """Look at a photo set: balance, sizes, colour, near-duplicates across splits, suspicious labels."""
    from compress.data.eda.findings import findings
    from compress.eda import examine
    from compress.outputs import check_output

    def log(line: str) -> None:
        print(line, file=sys.stderr)

    page = out if out is not None or as_json else Path(f"{root.resolve().name}-eda.html")
    if page is not None:
        check_output(page, "--out")
    found = examine(root, size=size, turned=turned, log=log)
    if page is not None:
        from compress.report.eda_page import render
        from compress.store import write_text

        write_text(page, render(found))
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
        return
    for one in findings(found):
        print(f"{'mend' if one.mend else 'know'}: {one.text}")
    print(page)
