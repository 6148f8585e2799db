"""Our search against the original protocol in equal time: the area of (F1, time) that their nets dominate.

python benchmarks/search_hypervolume.py PATH/trashnet [--minutes 20] [--seeds 3] [--first-seed 0]
                                        [--nets 5] [--jobs 2] [--shrink 4]
                                        [--ours KEY=VALUE] [--set KEY=VALUE]
python benchmarks/search_hypervolume.py --quick     # some minutes, on digits: that it works, not what is true

Both search the competition's space with every image size a quarter of the original's (--shrink 4), for the
same CPU time, each with one thread on one core:

- original: every trial trained fully, for the 50 to 200 epochs that the space draws; F1, parameters and time;
  MOTPE after ten random trials.
- ours: the same sampler for F1 and time, with the epochs, limits, proxy and rungs of recipes/spaces/cpu.yaml
  as they are: what takes more than 0.45 of the baseline's time is not trained, of what is left of twelve
  candidates one is, drawn from those that no other beats by naswot at no more time, and of 60 epochs the best
  third goes on after 8 and 24. --ours changes that. The latency table that tells what is too slow is measured
  in its time, anew by each search.

Why 20 minutes: with the trainings afterwards that fits into two hours on two cores. An epoch in this space
takes 7 s in the median and 20 s in the mean, so a full training of the original 15 minutes in the median: it
gets one or two trials of its 50. With --shrink 2 it gets a third of one, about what an hour is at its real
sizes, where a training takes four.

When its time is over a search is killed, and a training that it cuts off counts for nothing. The baseline is
trained before that time. Of each front the nets with the largest area on val are trained again with a seed
that no search had, exported, timed in turns with the baseline, and only now seen on test. Areas are from F1 0
and twice the baseline's time. Two figures are printed, the geometric mean over seeds of the ratio of areas
and the ratio of the mean areas; the lower one decides. Beside them, for each seed: in how much of its time
ours is as exact as the most exact net of the original.

About two hours on two idle cores. Killed, the same command goes on: studies are in runs/hypervolume-ARM-SEED,
what they print beside them in .txt, what they train in stores of their own below runs/.stores.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated

import typer
from search_areas import as_exact, verdict
from search_studies import alone_on, calibrate, cores, in_child, prepare, stop, store_of

from compress import yamlio
from compress.errors import CompressError
from compress.store import Store
from search.candidate import Candidate
from search.clock import Clock, Spent, words
from search.conduct import conduct
from search.finals import records_of
from search.folder import StudyFolder
from search.hypervolume import Point, best_subset, hypervolume
from search.one_shot import objective_of
from search.records import BASE, counted, front
from search.retrain import retrain
from search.spec import StudySpec
from search.storage import open_study

if TYPE_CHECKING:
    import optuna

REFERENCE = (0.0, 2.0)  # F1, and time relative to the baseline's
FRESH = 1000  # added to the seed of a search
OVER_S = 10.0  # a search with less time left has ended: its clock is noted every 5 s
FINALS = 0.15  # of the time is for the finalists of one_shot
FULL = "train.epochs=60"  # of the baseline too, whose time alone counts here
SPACE = "recipes/spaces/competition.yaml"
SHIPPED = "recipes/spaces/cpu.yaml"  # how ours searches, as anybody gets it
SAME_EPOCHS = "space.train.epochs=null"  # no epochs are drawn
ARMS = {
    "original": ["objectives=[f1, params, ms]"],
    "ours": ["objectives=[f1, ms]", SAME_EPOCHS],
}
QUICK = ["train.epochs=4", "runtime={kind: onnxruntime}"]
QUICK_OURS = ["limits={macs: 5.0e+6}", "fidelity={epochs: [1, 4]}"]


@dataclass(frozen=True)
class Search:
    """One study of one arm, and after how many hours of CPU time it is over."""

    arm: str
    spec: StudySpec
    hours: float

    @property
    def folder(self) -> Path:
        return Path("runs") / self.spec.name

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".txt")

    @property
    def store(self) -> Store:
        return store_of(self.spec, own_tables=True)

    @property
    def needs_a_table(self) -> bool:
        """Whether its limits ask for the time of nets before any training."""
        limits = self.spec.limits
        return limits is not None and (limits.ms is not None or limits.latency_ratio is not None)


@dataclass(frozen=True)
class Found:
    """What a search came to: the nets to train again, and its figures on val in words."""

    candidates: list[Candidate]
    line: str


def main(
    data: Annotated[Path | None, typer.Argument(help="TrashNet's folder with train/ and test/.")] = None,
    minutes: Annotated[float | None, typer.Option(help="CPU time of each search; 20 without.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Searches of each arm; 3 without.")] = None,
    first_seed: Annotated[int, typer.Option(min=0, help="The others follow it.")] = 0,
    nets: Annotated[int, typer.Option(min=1, help="Of each front, trained again.")] = 5,
    jobs: Annotated[int | None, typer.Option(min=1, help="Side by side; as many as cores without.")] = None,
    shrink: Annotated[int, typer.Option(min=1, max=4, help="Divides the original's image sizes.")] = 4,
    ours: Annotated[list[str] | None, typer.Option(help="Override a value of our studies.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value of all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits, a minute a search, one seed.")] = False,
) -> None:
    """Search by both protocols, train their fronts again, print the areas and their ratio."""
    if data is None and not quick:
        raise typer.BadParameter("give TrashNet's folder, or --quick")
    hours = (minutes or (1 if quick else 20)) / 60
    some = range(first_seed, first_seed + (seeds or (1 if quick else 3)))
    places: list[int | None] = [*cores()] or [None]
    again = len(some) * len(ARMS)
    name = "hypervolume" if shrink == 4 else f"hypervolume-by-{shrink}"
    places = places[: jobs or again]
    alone_on(None)
    try:
        common = QUICK if quick else [FULL, f"data.root={data}", *_smaller(shrink)]
        changes = {arm: [*common, *_own(arm, quick), *(set_ or [])] for arm in ARMS}
        changes["ours"] += ours or []
        file = "recipes/spaces/quickstart.yaml" if quick else SPACE
        first, _ = (StudySpec.from_yaml(file, changes[arm]) for arm in ARMS)
        print(
            f"Plan: {again} searches of {file}, {words(hours)} of CPU time each, on {len(places)} cores: "
            f"{words(hours * -(-again // len(places)))} where nothing else runs.\n"
            f"Then up to {again * nets} nets are trained again, about as long.\n"
            "Results: runs/hypervolume-*, runs/.stores; the same command goes on from there.",
            flush=True,
        )
        runtime = prepare(first, Store(), log=print)
        searches = [
            _search(
                arm, file, [*changes[arm], f"runtime={json.dumps(runtime.canonical())}"], name, seed, hours
            )
            for seed in some
            for arm in ARMS
        ]
        free: SimpleQueue[int | None] = SimpleQueue()
        for core in places:
            free.put(core)
        tested: dict[str, list[list[Point]]] = {arm: [] for arm in ARMS}
        with ThreadPoolExecutor(len(places)) as pool:
            for one, found in zip(
                searches, pool.map(lambda one: _done(one, nets, free), searches), strict=True
            ):
                points = sorted(_on_test(one, candidate) for candidate in found.candidates)
                tested[one.arm].append(points)
                print(f"{found.line}; area on test {hypervolume(points, REFERENCE):.3f}")
                for f1, ratio in points:
                    print(f"    F1 test {f1:.3f} at {ratio:.3f} of the baseline's time")
    except CompressError as error:
        stop(error)
    areas = {arm: [hypervolume(points, REFERENCE) for points in each] for arm, each in tested.items()}
    reached = verdict(areas["ours"], areas["original"])
    for seed, own, other in zip(some, tested["ours"], tested["original"], strict=True):
        print(f"seed {seed}: {as_exact(own, other)}")
    raise typer.Exit(0 if reached or quick else 1)


def _smaller(by: int) -> list[str]:
    """The original's image sizes, divided."""
    content = yamlio.read(SPACE)
    size, sizes = content["data"]["image_size"], content["space"]["image_size"]
    return [f"data.image_size={size // by}", f"space.image_size={[each // by for each in sizes]}"]


def _own(arm: str, quick: bool) -> list[str]:
    """What makes an arm of the space's study."""
    changes = [change for change in ARMS[arm] if not quick or change != SAME_EPOCHS]
    if arm == "ours":
        content = yamlio.read(SHIPPED)
        changes += [f"{key}={json.dumps(content[key])}" for key in ("limits", "proxies", "fidelity")]
        changes += QUICK_OURS if quick else []
    return changes


def _search(arm: str, file: str, changes: Sequence[str], name: str, seed: int, hours: float) -> Search:
    named = [f"name={name}-{arm}-{seed}", f"seed={seed}", "trials=100000"]
    return Search(arm, StudySpec.from_yaml(file, [*changes, *named, "max_hours=null"]), hours)


def _done(one: Search, nets: int, free: SimpleQueue[int | None]) -> Found:
    """The search, and the nets that it found trained again, in processes on a core that is free."""
    core = free.get()
    try:
        in_child(core, one.log, search, one)
        found = _found(one, nets)
        in_child(core, one.log, train_again, one, found.candidates)
        return found
    finally:
        free.put(core)


def search(one: Search) -> None:
    """Until its time is over: then this process ends as by a kill."""
    os.environ["BEYONDNAS_STORE"] = str(one.store.root)
    runtime = prepare(one.spec, one.store, log=print)
    seconds = one.hours * 3600
    asking = seconds * (1 - FINALS if one.spec.one_shot else 1)
    with StudyFolder.open(one.spec) as folder:
        study = open_study(one.spec, folder.path)
        spent = cpu_clock(study)
        if spent() > seconds - OVER_S:
            return
        threading.Thread(target=_end_at, args=(seconds, spent), daemon=True).start()
        if one.needs_a_table:
            with Clock(study):
                calibrate(runtime, one.store, log=print)
        conduct(
            one.spec, folder, objective_of, lambda line: print(line, flush=True), lambda: spent() < asking
        )


def cpu_clock(study: optuna.Study) -> Callable[[], float]:
    """CPU seconds of all processes that have worked on the study, this one from now on."""
    before = Spent.on(study).cpu_seconds - time.process_time()
    return lambda: before + time.process_time()


def _end_at(seconds: float, spent: Callable[[], float]) -> None:
    while (left := seconds - spent()) > 0:
        time.sleep(min(1.0, left + 0.01))
    os._exit(0)


def train_again(one: Search, candidates: Sequence[Candidate]) -> None:
    """Into the store."""
    for candidate in candidates:
        retrain(one.spec, candidate, one.spec.seed + FRESH, store=one.store, log=print)


def _found(one: Search, nets: int) -> Found:
    study = open_study(one.spec, one.folder)
    records, base, spent = records_of(study), study.user_attrs.get(BASE), Spent.on(study)
    if base is None:
        raise CompressError(f"{one.spec.name}: its time was over before the first trial; give more --minutes")
    best = front(records, {"f1": "maximize", "ms": "minimize"})
    points: list[Point] = [(r.measured["f1"], r.measured["ms"] / base["ms"]) for r in best]
    within = [(r, point) for r, point in zip(best, points, strict=True) if point[1] < REFERENCE[1]]
    chosen = best_subset(within, [point for _, point in within], nets, REFERENCE)
    area, kept = hypervolume(points, REFERENCE), hypervolume([point for _, point in chosen], REFERENCE)
    full = sum(record.outcome == "evaluated" for record in records)
    line = (
        f"{one.arm}, seed {one.spec.seed}: {words(spent.hours)} by the clock, "
        f"{words(spent.cpu_seconds / 3600)} of CPU time; {counted(records)} candidates trained, {full} "
        f"fully; front of {len(within)}, area on val {area:.3f}"
    )
    if area:
        line += f", of which the {len(chosen)} trained again have {kept / area:.0%}"
    return Found([r.candidate for r, _ in chosen if r.candidate], line)


def _on_test(one: Search, candidate: Candidate) -> Point:
    """From the store."""
    got = retrain(one.spec, candidate, one.spec.seed + FRESH, store=one.store, log=lambda line: None)
    return got.net.f1_test, got.ratio.median


if __name__ == "__main__":
    typer.run(main)
