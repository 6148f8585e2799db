"""`python -m compress ablate RECIPE`: which stage earned what, in which order, and is it noise."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from compress.ablation.folder import AblationFolder
    from compress.ablation.run import Ablation
    from compress.recipe import Recipe


def ablate(
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/ablation.yaml")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: --set ablation.seeds=5")
    ] = None,
    max_variants: Annotated[int | None, typer.Option(help="Run at most so many, each seed counted.")] = None,
    max_hours: Annotated[
        float | None, typer.Option(help="Start no further stage after so many hours.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the variants and say about how long it takes.")
    ] = False,
) -> int:
    """Run a recipe with stages left out, alone, reordered or swept; show what each stage earned."""
    from compress.recipe import Recipe

    limits = {"max_variants": max_variants, "max_hours": max_hours}
    overrides = [f"ablation.{name}={value}" for name, value in limits.items() if value is not None]
    value = Recipe.from_yaml(recipe, [*(set_ or ()), *overrides])
    if dry_run:
        _list(value)
        return 0
    from compress.ablation.folder import AblationFolder
    from compress.ablation.run import Interrupted
    from compress.ablation.run import ablate as run_ablation

    console = _console()
    with AblationFolder.open(value) as folder:

        def log(line: str) -> None:
            folder.log(line)
            console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)

        if folder.moved:
            log(f"the ablation of another recipe of that name is now {folder.moved}")
        try:
            ablation = run_ablation(value, log=log, progress=sys.stderr.isatty())
        except Interrupted as stop:
            _show(stop.ablation, folder)
            return 130
        _show(ablation, folder)
    return 1 if ablation.failed or ablation.broke else 0


def _list(recipe: Recipe) -> None:
    from compress.ablation.branches import Labs, branches
    from compress.ablation.forecast import forecast
    from compress.ablation.variants import variants

    every = variants(recipe)
    for one in every:
        runtime = [one.runtime] if one.runtime else []
        print(", ".join([*one.kinds, *runtime, f"seed {one.seed}"]) + f": {one.name}")
    print(forecast(branches(every, Labs({"log": lambda line: None}))))


def _show(ablation: Ablation, folder: AblationFolder) -> None:
    """Write the folder, print the tables and the answers."""
    from compress.ablation.report import saving_line, summary

    folder.write(ablation)
    console = _console(width=132)
    tables: list[Any] = [ablation.effects, ablation.orders, ablation.interactions, ablation.ranking]
    for table in tables:
        if table:
            console.print(table.rich())
    for line in [*summary(ablation), saving_line(ablation.saving)]:
        print(line)
    if ablation.stopped:
        print(f"not complete: {ablation.stopped}; the same command goes on from here")
    print(f"{folder.path}/: report.html, report.md, ablation.json, ablation.csv")


def _console(width: int | None = None) -> Any:
    from rich.console import Console

    wide = Console()
    return wide if width is None or wide.width >= width else Console(width=width)
