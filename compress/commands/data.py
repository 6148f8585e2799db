"""`python -m compress data ...`: what makes, fetches and looks at data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from compress.commands.eda import eda

group = typer.Typer(no_args_is_help=True, help="Make, fetch and look at image data sets.")

# Longer ones are a file each in compress/commands/: group.command()(name).
group.command()(eda)


@group.command()
def crops(
    annotations: Annotated[Path, typer.Argument(help="COCO annotations (JSON).")],
    images: Annotated[Path, typer.Argument(help="The folder that its file names are relative to.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: train/, val/, test/ and manifest.csv.")],
    config: Annotated[
        Path | None, typer.Option(help="Settings; the competition's, recipes/data/competition.yaml, without.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: --set min_side=16")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; as many as cores without.")] = None,
) -> None:
    """Cut every COCO box into a classification set, split by source image; again: only what is missing."""
    from rich.console import Console

    from compress.data.crops.make import make_crops
    from compress.data.crops.spec import CropSpec
    from compress.data.crops.table import table
    from compress.reading import read_spec
    from compress.yamlio import parse

    spec = read_spec(CropSpec, config or parse("{}", "the defaults"), set_ or ())
    made = make_crops(annotations, images, out, spec, workers=workers, progress=sys.stderr.isatty())
    Console().print(table(made))
    print(f"{made.wrote} files written now; every box is in {out / 'manifest.csv'}")
    made.check()


@group.command()
def download(
    name: Annotated[str, typer.Argument(help="taco or trashnet")],
    out: Annotated[
        Path | None, typer.Argument(help="Folder; data/taco-photos or data/trashnet without.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Another address or file of TACO's annotations or TrashNet's zip.")
    ] = None,
    size: Annotated[str, typer.Option(help="TACO: original, or 640 for Flickr's small copies.")] = "original",
    workers: Annotated[int, typer.Option(min=1, max=32, help="Files at a time.")] = 8,
) -> None:
    """Fetch a public data set, licences shown first; again: only what is missing."""
    from compress.data.download.fetch import fetch

    for line in fetch(name, out, source=source, size=size, workers=workers, progress=sys.stderr.isatty()):
        print(line)
