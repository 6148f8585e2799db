"""One hour on one core finds a net that beats MobileNetV3-Small: higher F1 on test, at most half its time.

python benchmarks/search_hour.py PATH/trashnet [--hours 1] [--seeds 3] [--epochs 60] [--best score]
python benchmarks/search_hour.py --quick     # two minutes, on digits: that it works, not what is true

The hour: one process with one thread on one core, from the first step of the baseline's training to the last
of the search. This machine's latency table, measured once in two minutes, is not in it.
The found net is the search's own choice, on val. It and MobileNetV3-Small are then trained from scratch with
seeds that the search has not used, by one recipe, exported, and timed in turns; test decides nothing before.

Killed, the same command goes on. The study is in runs/cpu-search, trained nets and timings in a store of
its own below runs/.stores.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from search_studies import alone_on, calibrate, cores, prepare, said, stop, store_of

from compress.errors import CompressError
from search.choose import choices
from search.clock import Clock, Spent, words
from search.command import run
from search.finals import records_of
from search.folder import StudyFolder
from search.records import BASE, counted
from search.retrain import Retrained, f1_gain, retrain, time_ratio
from search.spec import StudySpec
from search.storage import open_study

HALF = 0.5
RULES = ("score", "knee", "constraint")
QUICK = [
    "name=search-hour-quick",
    "train.epochs=4",
    "objectives=[f1]",
    "trials=100",
    "limits={latency_ratio: 0.9}",
    "proxies={kind: naswot, candidates: 2}",
    "fidelity={epochs: [1, 4]}",
    "runtime={kind: onnxruntime}",
]


def main(
    data: Annotated[Path | None, typer.Argument(help="TrashNet's folder with train/ and test/.")] = None,
    hours: Annotated[float | None, typer.Option(help="Of baseline and search; 1 without.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of either net afterwards.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Of these; as in the search without.")] = None,
    best: Annotated[str, typer.Option(help="Which net: score, knee or constraint.")] = "score",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value of the study.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits, a minute of search.")] = False,
) -> None:
    """Search, train the found net and the baseline again, print both and who wins."""
    if data is None and not quick:
        raise typer.BadParameter("give TrashNet's folder, or --quick")
    if best not in RULES:  # an hour before it would be missed
        raise typer.BadParameter(f"--best {best}: must be one of {', '.join(RULES)}")
    alone_on(next(iter(cores()), None))
    hours = hours or (1 / 60 if quick else 1.0)
    changes = QUICK if quick else [f"data.root={data}"]
    file = f"recipes/spaces/{'quickstart' if quick else 'cpu'}.yaml"
    try:
        spec = StudySpec.from_yaml(file, [*changes, *(set_ or [])])
        if best == "constraint" and spec.metric.require is None:
            raise CompressError("--best constraint: the study has no metric.require")
        first = [spec.seed + 1 + i for i in range(seeds)]
        print(
            f"Plan: train the baseline and search {file}, {words(hours)} in all on one core.\n"
            f"Then train both nets for {epochs or spec.train.epochs} epochs, seeds {_and(first)}.\n"
            f"Results: runs/{spec.name}, runs/.stores; the same command goes on from there."
        )
        store = store_of(spec)
        os.environ["BEYONDNAS_STORE"] = str(store.root)
        with StudyFolder.open(spec) as folder, Clock(open_study(spec, folder.path)):
            runtime = prepare(spec, store, log=print)  # the baseline, which is part of the hour
        if not quick:
            calibrate(runtime, store, log=print)
        run(spec.model_copy(update={"max_hours": hours}))

        study = open_study(spec, Path("runs") / spec.name)
        records, base, spent = records_of(study), study.user_attrs[BASE], Spent.on(study)
        chosen = choices(spec, records).get(best)
        if chosen is None or chosen.candidate is None:
            raise CompressError(f"the search has no best by {best}: no net within its limits meets that")
        print(
            f"\nbaseline and search: {words(spent.hours)} by the clock and "
            f"{words(spent.cpu_seconds / 3600)} of CPU time, {counted(records)} candidates trained\n"
            f"found, by {best}: {said(chosen, base)}\n"
        )
        train = spec.train.model_copy(update={"epochs": epochs or spec.train.epochs})
        again = spec.model_copy(update={"runtime": runtime, "train": train})
        found = []
        print("seed  F1 test: baseline   found     gain  time relative to the baseline's")
        for seed in first:
            one = retrain(again, chosen.candidate, seed, store=store, log=_nothing)
            found.append(one)
            print(_row(one), flush=True)
    except CompressError as error:
        stop(error)
    raise typer.Exit(0 if _verdict(found) or quick else 1)


def _row(one: Retrained) -> str:
    base, net, time = one.base.f1_test, one.net.f1_test, one.ratio
    return (
        f"{one.seed:>4}  {base:>18.3f}  {net:>6.3f}  {net - base:>+7.3f}  {time.median:.3f} "
        f"({time.low:.3f} to {time.high:.3f}); {one.base.latency.median:.3f} ms the baseline"
    )


def _verdict(found: list[Retrained]) -> bool:
    """Print the means and what follows."""
    gain, ratio = f1_gain(found), time_ratio(found)
    exact, fast = gain.mean > 0, ratio.mean <= HALF
    print(
        f"mean, {len(found)} seeds: F1 test {gain.mean:+.3f} (95 % {gain.low:+.3f} to {gain.high:+.3f}), "
        f"time {ratio.mean:.3f} (95 % {ratio.low:.3f} to {ratio.high:.3f})"
    )
    noise = ", but the interval of the difference contains 0" if gain.has_zero else ""
    print(
        f"higher F1: {'yes' if exact else 'no'}{noise}; at most half the time: {'yes' if fast else 'no'}: "
        f"the found net {'dominates' if exact and fast else 'does not dominate'} the baseline"
    )
    return exact and fast


def _and(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def _nothing(line: str) -> None:
    """What a training says was said in the search."""


if __name__ == "__main__":
    typer.run(main)
