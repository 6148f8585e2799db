"""Finished runs as a leaderboard needs them: what compares with what, and each figure with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from compress.errors import InputError
from compress.report.metric import metric_of
from compress.report.run_folder import read_report

_NO_RESULT = ("name", "seed", "control", "ablation", "track")  # parts of a recipe that change no result
_BY_F1 = "rank by F1 alone: --by f1_val or f1_test"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval (t); of a single run, its own: of its photos and times."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Run:
    """A run that ended: the folder as it was named, and its ``report.json``."""

    path: str
    report: Mapping[str, Any]

    @property
    def recipe(self) -> Mapping[str, Any]:
        recipe: Mapping[str, Any] = self.report["recipe"]
        return recipe

    @property
    def content(self) -> dict[str, Any]:
        """What of the recipe, or was given in its place, decides the result, but the seed."""
        whole = {**self.recipe, **self.report["given"]}
        return {key: value for key, value in whole.items() if key not in _NO_RESULT}

    @property
    def timed(self) -> bool:
        """Whether its score counts time."""
        return bool(self.report["metric"]["kind"] != "f1_macs")


def read(path: str | Path) -> Run:
    """A run's folder; InputError where none ended."""
    return Run(str(path), read_report(path))


def check_data(runs: Sequence[Run]) -> None:
    """InputError unless all score the same classes and, as far as known, the same test photos."""
    first = runs[0]
    for run in runs[1:]:
        labels = [sorted(r.report["final"]["f1_per_class"]) for r in (first, run)]
        if labels[0] != labels[1]:
            raise InputError(
                f"{run.path}: its classes are {', '.join(labels[1])}, those of {first.path} "
                f"{', '.join(labels[0])}: their F1 do not compare"
            )
        tests = [r.report["test"] for r in (first, run)]
        if all(tests) and _others(*tests):
            raise InputError(
                f"{run.path}: its {tests[1]['photos']} test photos are not the {tests[0]['photos']} of "
                f"{first.path}: their F1 do not compare"
            )


def _others(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether two runs' test photos differ in what both reports tell of them; earlier ones name no files."""
    return any(one[key] != two[key] for key in ("photos", "digest")) or (
        None not in (files := [test.get("files") for test in (one, two)]) and files[0] != files[1]
    )


def check_scores(runs: Sequence[Run], by: str, same_machine: bool) -> bool:
    """Whether scores compare; an error where they must, because they rank."""
    first = runs[0]
    other = next((run for run in runs if _rule(run) != _rule(first)), None)
    wanted = by.startswith("score")
    if wanted and other:
        raise InputError(
            f"{other.path}: its metric is not that of {first.path}: their scores do not compare; {_BY_F1}"
        )
    if wanted and first.timed and not same_machine:
        ids = {run.report["machine"]["id"]: run for run in runs}
        one, two = list(ids.values())[:2]
        raise InputError(
            f"{two.path} was timed on {_machine(two)}, {one.path} on {_machine(one)}: times of different "
            f"machines do not compare; {_BY_F1}"
        )
    return other is None and (same_machine or not first.timed)


def _machine(run: Run) -> str:
    return f"{run.report['machine']['cpu']} ({run.report['machine']['id']})"


def _rule(run: Run) -> dict[str, Any]:
    metric: dict[str, Any] = {"time": "model", "baseline": None, **run.report["metric"]}
    return {key: value for key, value in metric.items() if key != "require"}


def estimate(found: Sequence[Estimate]) -> Estimate:
    """Of one figure of several seeds; of a single one, itself."""
    if len(found) == 1:
        return found[0]
    from scipy.stats import t

    values = [one.mean for one in found]
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
    middle = mean(values)
    return Estimate(middle, middle - half, middle + half)


def f1(run: Run, split: str) -> Estimate:
    """Macro F1 of the final model."""
    final = run.report["final"]
    return Estimate(final[f"f1_{split}"], *final[f"f1_{split}_interval"])


def ratio(run: Run) -> Estimate:
    """Time of the final model relative to its baseline."""
    final = run.report["final"]
    return Estimate(final["latency_ratio"], *final["latency_ratio_interval"])


def ms(run: Run) -> Estimate:
    """The baseline's milliseconds times that ratio."""
    base, span = run.report["baseline"]["latency_ms"]["median"], ratio(run)
    return Estimate(base * span.mean, base * span.low, base * span.high)


def score(run: Run, split: str, against: Run | None) -> Estimate:
    """The metric, against the baseline of ``against`` if given.

    An interval that the report lacks is that of F1 and time at their worst and best together, the baseline
    taken as it was measured.
    """
    final = run.report["final"]
    value, right, times = final[f"score_{split}"], f1(run, split), _counted(run)
    if against is None and split == "test":
        return Estimate(value, *final["score_test_interval"])

    def points(quality: float, time: float) -> float:
        return float(metric.points(f1=quality, time=time, macs=final["macs"]))

    metric = metric_of((against or run).report, split)
    low, high = points(right.high, times.low), points(right.low, times.high)
    return Estimate(value if against is None else points(right.mean, times.mean), low, high)


def _counted(run: Run) -> Estimate:
    """Milliseconds that the metric counts: of the model, or of a photo to its label."""
    final = run.report["final"]
    if "time_ratio" not in final:
        return ms(run)
    base, span = final["base"]["time_ms"], final["time_ratio_interval"]
    return Estimate(base * final["time_ratio"], base * span[0], base * span[1])
