"""The command line: ``python -m search STUDY.yaml``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from compress.exits import call

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def search(
    study: Annotated[Path, typer.Argument(help="A study, e.g. recipes/spaces/quickstart.yaml")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: --set data.image_size=96")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Candidates to train in all; more go on with it.")
    ] = None,
    one_shot: Annotated[
        bool,
        typer.Option(
            "--one-shot",
            help="Train one supernet instead of each candidate, as study NAME-one-shot; for more see the "
            "study's key one_shot.",
        ),
    ] = False,
) -> None:
    """Search a net for this machine; run again, it goes on where it stopped."""
    from search.spec import StudySpec, as_one_shot

    overrides = [*(set_ or ()), *([f"trials={trials}"] if trials is not None else [])]
    spec = StudySpec.from_yaml(study, overrides)
    spec = as_one_shot(spec) if one_shot else spec
    from search.command import run

    run(spec)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    plain = [arg for arg in args if arg != "--debug"]
    return call(app, plain, "python -m search", debug=plain != args)


if __name__ == "__main__":
    sys.exit(main())
