"""`python -m compress submit RUN --data DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def submit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, e.g. runs/taco")],
    data: Annotated[Path, typer.Option(help="A folder of images, flat or in class folders.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; RUN/submission when left out.")] = None,
) -> None:
    """Label a folder one image at a time, timed as in the competition: submission.csv and output.json."""
    from compress.submit import CSV, JSON
    from compress.submit import submit as submit_run

    made = submit_run(run, data, out)
    for line in made.skipped:
        print(f"skipped {line}")
    count = len(made.files)
    model, before = sum(f.model_s for f in made.files), sum(f.preprocess_s for f in made.files)
    print(
        f"{count} images in {before + model:.2f} s, {1e3 * (before + model) / count:.3f} ms each: "
        f"preprocessing {1e3 * before / count:.3f}, model {1e3 * model / count:.3f}"
    )
    folder = out or run / "submission"
    print(f"{folder / CSV}, {folder / JSON}")
