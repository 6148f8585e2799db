"""The command line: ``python -m search STUDY.yaml``."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from compress.errors import CompressError, InputError

_INTERRUPTED = "interrupted: the same command goes on from here"

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def search(
    study: Annotated[Path, typer.Argument(help="A study, e.g. recipes/spaces/quickstart.yaml")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: --set sampler.kind=random")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Candidates to train in all; more go on with it.")
    ] = None,
) -> None:
    """Search a net for this machine; run again, it goes on where it stopped."""
    from search.spec import StudySpec

    overrides = [*(set_ or ()), *([f"trials={trials}"] if trials is not None else [])]
    spec = StudySpec.from_yaml(study, overrides)
    from search.command import run

    run(spec)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    try:
        code = int(app(args, prog_name="python -m search", standalone_mode=False) or 0)
        return _fail([_INTERRUPTED], 130) if code == 130 else code
    except CompressError as error:
        if debug:
            traceback.print_exc()
        lines = error.problems if isinstance(error, InputError) else [f"error: {error}"]
        return _fail(lines, error.exit_code)
    except KeyboardInterrupt:
        return _fail([_INTERRUPTED], 130)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if hasattr(error, "format_message"):  # what click says of a wrong command line
            return _fail([error.format_message()], 2)
        if type(error).__name__ == "Abort":
            return _fail([_INTERRUPTED], 130)
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            return _fail([f"error: {where}{error.strerror or error}"], 1)
        text = f"internal error, please report: {type(error).__name__}: {error} (--debug shows where)"
        return _fail([text], 1)


def _fail(lines: Sequence[str], code: int) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
