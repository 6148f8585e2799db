"""A leaderboard of runs: recipes side by side, seeds of one recipe together, ties called ties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import hypot
from pathlib import Path
from statistics import mean
from typing import Any, Literal, get_args

from compress.comparable import Estimate, Run, check_data, check_scores, estimate, f1, ms, ratio, read, score
from compress.errors import InputError
from compress.spec import digest

By = Literal["score_val", "score_test", "f1_val", "f1_test"]
BY: tuple[str, ...] = get_args(By)


@dataclass(frozen=True)
class Entry:
    """One recipe on the board.

    Attributes:
        rank: 1 is best; entries tied with the first of their rank have the same.
        kept: the stages in the final model, of the first seed.
        runtime: of all seeds; ``runtime: auto`` may choose another for each.
        ms, ratio: None where times do not compare.
        differs: what of the recipe is not the same in all entries.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    kept: tuple[str, ...]
    runtime: str
    f1_val: Estimate
    f1_test: Estimate
    score_val: Estimate | None
    score_test: Estimate | None
    ms: Estimate | None
    ratio: Estimate | None
    params: float
    macs: float
    bytes: float
    differs: dict[str, Any] = field(default_factory=dict)
    rank: int = 0


@dataclass(frozen=True)
class Board:
    """Entries, best first; ``notes`` say what to know before believing them."""

    by: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return asdict(self)


def compare(paths: Sequence[str | Path], by: str = "score_val", base: str | Path | None = None) -> Board:
    """Rank the final models of runs.

    Args:
        paths: folders of runs that ended; those of one recipe that differ in their seed make one entry.
        by: ``score_val``, ``score_test`` (lower is better), ``f1_val`` or ``f1_test``.
        base: a run whose baseline all scores are taken against, instead of each run's own.

    Raises:
        InputError: no such run; other classes, test photos or metrics; times of different machines.
    """
    if by not in BY:
        raise InputError(f"by: found {by!r}; must be one of {', '.join(BY)}")
    given = Counter(map(str, paths))
    runs = [read(path) for path in given]
    against = read(base) if base is not None else None
    everyone = [*runs, *([against] if against else [])]
    check_data(everyone)
    same_machine = len({run.report["machine"]["id"] for run in everyone}) == 1
    scored = check_scores(everyone, by, same_machine)
    groups, notes = _grouped(runs)
    differing = _differing([group[0].content for group in groups])
    entries = [
        _entry(group, against, scored, same_machine, differs)
        for group, differs in zip(groups, differing, strict=True)
    ]
    notes += [f"{path} is given {count} times and counts once" for path, count in given.items() if count > 1]
    notes += _notes(groups, against, scored, same_machine)
    return Board(by, tuple(_ranked(entries, by)), tuple(notes))


def _grouped(runs: Sequence[Run]) -> tuple[list[list[Run]], list[str]]:
    """Runs of one recipe together; of two with one seed the first counts."""
    groups: dict[str, dict[int, Run]] = {}
    notes = []
    for run in runs:
        seeds = groups.setdefault(digest(run.content), {})
        twin = seeds.setdefault(run.recipe["seed"], run)
        if twin is not run:
            notes.append(f"{run.path} repeats recipe and seed of {twin.path}: left out")
    return [[seeds[seed] for seed in sorted(seeds)] for seeds in groups.values()], notes


def _entry(
    group: Sequence[Run], against: Run | None, scored: bool, timed: bool, differs: dict[str, Any]
) -> Entry:
    finals = [run.report["final"] for run in group]

    def over(key: str) -> float:
        return mean(float(final[key]) for final in finals)

    values: dict[str, Estimate | None] = {}
    for split in ("val", "test"):
        values[f"f1_{split}"] = estimate([f1(run, split) for run in group])
        values[f"score_{split}"] = estimate([score(run, split, against) for run in group]) if scored else None
    f1_val, f1_test = values["f1_val"], values["f1_test"]
    assert f1_val is not None
    assert f1_test is not None
    first = group[0]
    return Entry(
        name=first.recipe["name"],
        runs=tuple(run.path for run in group),
        seeds=tuple(run.recipe["seed"] for run in group),
        kept=tuple(step["label"] for step in first.report["steps"] if step["kept"]),
        runtime=", ".join(_runtimes(group)),
        f1_val=f1_val,
        f1_test=f1_test,
        score_val=values["score_val"],
        score_test=values["score_test"],
        ms=estimate([ms(run) for run in group]) if timed else None,
        ratio=estimate([ratio(run) for run in group]) if timed else None,
        params=over("params"),
        macs=over("macs"),
        bytes=over("bytes"),
        differs=differs,
    )


def _runtimes(group: Sequence[Run]) -> dict[str, list[int]]:
    """The runtimes that a recipe ended with, each with its seeds."""
    found: dict[str, list[int]] = {}
    for run in group:
        found.setdefault(run.report["runtime"], []).append(run.recipe["seed"])
    return found


def _notes(
    groups: Sequence[Sequence[Run]], against: Run | None, scored: bool, same_machine: bool
) -> Iterator[str]:
    for group in groups:  # one entry all the same: what auto chooses is the recipe's doing
        if len(found := _runtimes(group)) > 1:
            each = "; ".join(f"{kind} for {', '.join(map(str, seeds))}" for kind, seeds in found.items())
            yield (
                f"the seeds of {group[0].recipe['name']} ran in different runtimes ({each}): its times and "
                "scores are means over these; set runtime.kind for one"
            )
    if not same_machine:
        yield "the runs are of different machines: no times are shown"
    if any(len(group) == 1 for group in groups):
        yield "intervals of a single run are those of its photos and times: they say nothing of other seeds"
    if any(len(group) > 1 for group in groups):
        yield "intervals over seeds are those of the mean (t): they say nothing of other photos"
    if scored and any(run.report["metric"].get("time") == "end_to_end" for run, *_ in groups):
        yield "scores count the time from photo to label; ms and ratio are the model's alone"
    if not scored:
        yield "scores do not compare and are left out"
    elif against is not None:
        yield (
            f"scores are against the baseline of {against.path}, whose time was measured at another moment "
            "than the other runs': intervals do not cover what the machine did between; ratios stay those to "
            "each run's own"
        )
    else:
        bases = {digest(*(run.content[key] for key in ("data", "model", "train"))) for run, *_ in groups}
        if len(bases) > 1:
            yield "baselines differ, and each score is against its own: --base RUN takes one for all"
            if same_machine:
                yield "their times were measured at different moments: intervals of ms do not cover that"


def _ranked(entries: Sequence[Entry], by: str) -> Iterator[Entry]:
    sign = 1 if by.startswith("score") else -1
    ordered = sorted(entries, key=lambda entry: sign * _value(entry, by).mean)
    rank, first = 0, None
    for place, entry in enumerate(ordered, 1):
        if first is None or not _tied(_value(first, by), _value(entry, by)):
            rank, first = place, entry
        yield replace(entry, rank=rank)


def _value(entry: Entry, by: str) -> Estimate:
    value: Estimate = getattr(entry, by)
    return value


def _tied(one: Estimate, two: Estimate) -> bool:
    """Whether the 95 % interval of the difference contains 0, by the halves that face each other."""
    low, high = sorted((one, two), key=lambda e: e.mean)
    return high.mean - low.mean <= hypot(low.high - low.mean, high.mean - high.low)


def _differing(contents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each recipe, what is not the same in all, by dotted key.

    Stages are taken apart only where all recipes have the same kinds in the same order.
    """
    kinds = [[stage["kind"] for stage in content["stages"]] for content in contents]
    alike = all(one == kinds[0] for one in kinds)
    flat = [
        dict(_flat(content if alike else {**content, "stages": ", ".join(names) or "none"}))
        for content, names in zip(contents, kinds, strict=True)
    ]
    keys = dict.fromkeys(key for one in flat for key in one)
    differing = [key for key in keys if len({digest(one.get(key)) for one in flat}) > 1]
    return [{key: one.get(key) for key in differing} for one in flat]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for i, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{i}]")
    else:
        yield path, value
