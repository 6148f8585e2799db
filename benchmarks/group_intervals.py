"""How much wider intervals are when near-duplicates are drawn together than when photos are drawn one by one.

python benchmarks/group_intervals.py runs/trashnet-nas    # of any finished run whose data has groups

Reads the run's recipe, its data, and the classes that its models gave to the photos; trains nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from compress.errors import CompressError, InputError
from compress.inputs import splits_of
from compress.measure.draws import Draws
from compress.recipe import Recipe
from compress.report.run_folder import read_report

SEEDS = 5  # of the resampling: a width from 2000 samples is itself a few percent off


def main(run: Annotated[Path, typer.Argument(help="The folder of a run that ended.")]) -> None:
    """Print both intervals of the run's F1, and of what its chain changed in it."""
    try:
        report = read_report(run)
        recipe = Recipe.from_yaml(run / "recipe.yaml")
        splits = splits_of(recipe, None, lambda line: None)
    except CompressError as error:
        sys.exit(f"error: {error}")
    if splits.test.groups is None:
        sys.exit(f"error: {InputError(f'{run}: its data has no groups')}")
    print(f"{'95 % interval of':<34}{'photos':>20}{'groups':>20}  times as wide")
    for name, data in (("val", splits.val), ("test", splits.test)):
        assert data.groups is not None
        said = {who: np.asarray(report[who][f"predictions_{name}"]) for who in ("baseline", "final")}
        size = f"{len(data)} photos in {len(np.unique(data.groups))} groups"
        for what in ("baseline", "final", "change"):
            both = [_mean_interval(data.targets, groups, said, what) for groups in (None, data.groups)]
            times = (both[1][1] - both[1][0]) / max(both[0][1] - both[0][0], 1e-12)
            spans = "".join(f"{f'{low:+.3f} to {high:+.3f}':>20}" for low, high in both)
            print(f"{f'F1 {name}, {what}':<34}{spans}  {times:.2f}   ({size})")


def _mean_interval(
    targets: np.ndarray, groups: np.ndarray | None, said: dict[str, np.ndarray], what: str
) -> tuple[float, float]:
    ends = []
    for seed in range(SEEDS):
        draws = Draws.of(targets, groups, seed=seed)
        f1 = {who: draws.f1(labels) for who, labels in said.items()}
        values = f1["final"] - f1["baseline"] if what == "change" else f1[what]
        ends.append(np.percentile(values, [2.5, 97.5]))
    low, high = np.mean(ends, axis=0)
    return float(low), float(high)


if __name__ == "__main__":
    typer.run(main)
