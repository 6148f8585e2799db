"""The command line. `python -m compress RECIPE.yaml` is short for `python -m compress run RECIPE.yaml`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import __version__
from compress.commands.ablate import ablate
from compress.commands.bench import bench
from compress.commands.calibrate import calibrate
from compress.commands.compare import compare
from compress.commands.data import group as data_commands
from compress.commands.doctor import doctor
from compress.commands.plan import plan
from compress.commands.submit import submit
from compress.errors import CompressError
from compress.exits import call, fail

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compress an image classifier and score every stage as it is shipped.",
)
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a value: --set train.epochs=5")]
RecipeFile = Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/quickstart.yaml")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, e.g. runs/quickstart")]


@app.command()
def run(recipe: RecipeFile, set_: Overrides = None) -> None:
    """Run a recipe: train, then every stage, each scored; `run` may be left out."""
    from compress.recipe import Recipe

    value = Recipe.from_yaml(recipe, set_ or ())
    from compress.chain import run as run_chain
    from compress.report.run_folder import RunFolder
    from compress.report.summary import headline
    from compress.report.tables import rows, show
    from compress.store import Store

    console = _console()

    def say(line: str) -> None:
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)

    store, folder = Store(), RunFolder.open(value, say=say)
    steps = run_chain(value, store=store, log=folder.log, progress=sys.stderr.isatty())
    for _ in folder.follow(steps, store):  # written down and said as they pass
        pass
    report = folder.report
    show(rows(report))
    print(headline(report))
    final, (low, high) = report["final"], report["final"]["score_test_interval"]
    print(
        f"final: {final['label']}, score_test {final['score_test']:.3f} "
        f"(95 % {low:.3f} to {high:.3f}), lower is better"
    )
    print(f"{folder.path}/: report.html, report.md, report.json, artifact/")
    for one in report["require"]:
        print(one["line"])
    if unmet := [one["line"].removeprefix("NOT met: ") for one in report["require"] if not one["met"]]:
        raise CompressError(f"requirement not met: {'; '.join(unmet)}")  # the run is whole, its code is 1


@app.command()
def report(
    run: RunPath,
    timing: Annotated[
        Path | None, typer.Option(help="What `bench --json` printed on another machine: adds its times.")
    ] = None,
) -> None:
    """Print a run's table and write its report.md and report.html again; an ablation's page, too."""
    from compress.report.ablation_page import rewrite

    if page := rewrite(run):
        print(page)
        return
    from compress.bench.report import add_timing, show_elsewhere
    from compress.report.run_folder import read_report, write_report
    from compress.report.summary import headline
    from compress.report.tables import rows, show

    content = read_report(run)
    if timing is not None:
        content = add_timing(content, run, timing)
    write_report(run, content)
    show(rows(content), title=content["recipe"]["name"])
    print(headline(content))
    show_elsewhere(content)
    print(f"{run}/report.html")


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[Path, typer.Option(help="A folder with one folder of images a class.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a run's baseline and final model on other labelled images, in one interleaved run."""
    from compress.evaluate import evaluate as evaluate_run
    from compress.evaluate import lines as evaluate_lines

    result = evaluate_run(run, data)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    for line in evaluate_lines(result, data):
        print(line)


@app.command()
def predict(
    run: RunPath,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")
    ],
) -> None:
    """Label images with a run's final model (no torch needed); of a folder, every file in it."""
    from compress.data.scan import files_below
    from compress.errors import InputError
    from compress.predict import load

    model = load(run)
    bad = [f"{given}: no file in it" for given in images if given.is_dir() and not files_below(given)]
    for path in [file for given in images for file in (files_below(given) if given.is_dir() else [given])]:
        try:
            ((label, probability),) = model.predict(path)
        except InputError as error:  # the others get their labels
            bad += error.problems
        else:
            print(f"{path}\t{label}\t{probability:.4f}")
    if bad:
        raise InputError(bad)


@app.command()
def export(
    run: RunPath,
    to: Annotated[str, typer.Option(help="onnx, openvino, ncnn, torch or tensorrt")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; RUN/export-<to> when left out.")] = None,
    step: Annotated[
        str | None,
        typer.Option(help="Label of a kept step, e.g. the one before int8; the final net without."),
    ] = None,
) -> None:
    """Write a run's final model, or that of a step, in another format."""
    from compress.exporting import export_run

    print(export_run(run, to, out or run / f"export-{'-'.join(filter(None, (step, to)))}", step))


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from compress.recipe import schema as recipe_schema

    print(json.dumps(recipe_schema(), indent=1))


# Each of these is a file in compress/commands/:
#   app.command()(name) for one command, app.add_typer(group, name="...") for a group of them.
app.command()(ablate)
app.command()(bench)
app.command()(calibrate)
app.command()(compare)
app.add_typer(data_commands, name="data")
app.command()(doctor)
app.command()(plan)
app.command()(submit)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    if args == ["--version"]:
        print(__version__)
        return 0
    commands = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    } | {group.name for group in app.registered_groups if group.name}
    if args and not args[0].startswith("-") and args[0] not in commands:
        if not _looks_like_file(args[0]):
            return fail([_unknown(args[0], sorted(commands))], 2)
        args.insert(0, "run")
    return call(app, args, "python -m compress", debug=debug)


def _looks_like_file(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) or Path(word).exists() or "/" in word


def _unknown(word: str, commands: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, commands, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{word}: neither a recipe (.yaml) nor one of {', '.join(commands)}{hint}"


def _console() -> Any:
    from rich.console import Console

    return Console()


if __name__ == "__main__":
    sys.exit(main())
