"""`python -m compress plan RECIPE`: what a recipe would do, and the net it starts from layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plan(
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/quickstart.yaml")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: --set train.epochs=5")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the layers, too: a .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Dry run: the layers of the net, what each stage would touch, and how long it will take."""
    from compress.recipe import Recipe

    value = Recipe.from_yaml(recipe, set_ or ())
    from rich.console import Console

    from compress.dryrun import DryRun
    from compress.layers.plot import check_plot, layer_plot
    from compress.layers.table import block_lines, layer_summary, layer_table

    if plot is not None:
        check_plot(plot)
    aside = Console(stderr=True)

    def log(line: str) -> None:
        aside.print(f"{line} ...", style="dim", highlight=False, markup=False, soft_wrap=True)

    dry = DryRun.start(value, log)
    found = dry.layers(log)
    console = Console()
    wide = console if console.width >= 132 else Console(width=132)
    wide.print(layer_table(found.lines, found.title))
    for line in (*layer_summary(found.lines, found.whole_ms), *block_lines(found.blocks)):
        print(line)
    print(f"exported: {found.bytes / 2**20:.2f} MiB")
    if found.warning:
        print(f"warning: {found.warning}")
    if plot is not None:
        layer_plot(found.lines, plot, f"{value.name}: {found.title}")
        print(f"{plot}: the layers as a figure")
    for line in dry.lines(log):
        print(line, flush=True)
