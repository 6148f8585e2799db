"""`kill -9` at random moments of a real study on digits: no finished trial lost, none repeated.

python benchmarks/search_kill.py [--kills 20] [--trials 12] [--storage sqlite --storage journal] [--workers 1]
                                [--longest 20]

A kill comes 3 to 20 s after the start: about 5 minutes each storage on an idle machine; where a start takes
longer, say so with --longest. Everything is in a folder of its own.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from search.records import Record
from search.spec import StudySpec
from search.storage import open_study

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "recipes/spaces/quickstart.yaml"


def main(
    kills: int = 20,
    trials: int = 12,
    storage: Annotated[list[str] | None, typer.Option(help="sqlite and journal when left out.")] = None,
    workers: int = 1,
    longest: Annotated[float, typer.Option(help="Seconds from a start to a kill, at most.")] = 20.0,
    seed: int = 0,
) -> None:
    """Print, for each storage, what had ended at each kill and what became of it; 1 if any was lost."""
    wrong = 0
    for kind in storage or ["sqlite", "journal"]:
        with tempfile.TemporaryDirectory() as folder:
            waits = _waits(longest, random.Random(seed))
            wrong += _one(kind, Path(folder), kills, trials, workers, waits)
    raise typer.Exit(1 if wrong else 0)


def _one(kind: str, folder: Path, kills: int, trials: int, workers: int, waits: Iterator[float]) -> int:
    changes = [f"storage={kind}", f"trials={trials}", f"workers={workers}"]
    changes.append(f"baseline.path={ROOT}/recipes/models/digits.yaml")
    spec = StudySpec.from_yaml(FILE, changes)
    command = [sys.executable, "-m", "search", str(FILE)]
    command += [part for change in changes for part in ("--set", change)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    seen: list[dict[int, Record]] = []
    done = 0
    while done < kills:
        wait = next(waits)
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its workers with it
            process.wait()
            done += 1
        else:  # all trials were done before: give it more
            if process.returncode:
                raise SystemExit(f"{' '.join(command)}: ended with {process.returncode} before it was killed")
            trials += 4
            command += ["--set", f"trials={trials}"]
        seen.append(_finished(spec, folder))
        print(
            f"{kind}: killed {done} of {kills}, after {wait:.1f} s; {len(seen[-1])} trials had ended",
            flush=True,
        )
    began = time.monotonic()
    subprocess.run(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, check=True)
    seen.append(_finished(spec, folder))
    lost = sum(after.get(n) != end for before, after in pairwise(seen) for n, end in before.items())
    outcomes = Counter(record.outcome for record in seen[-1].values())
    keys = Counter(record.key for record in seen[-1].values() if record.outcome == "evaluated")
    repeated = sum(count - 1 for count in keys.values())
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(
        f"{kind}: {kills} kills, then {time.monotonic() - began:.0f} s to the end: {told}; "
        f"finished trials lost: {lost}; repeated: {repeated}",
        flush=True,
    )
    return lost + repeated


def _waits(longest: float, rng: random.Random) -> Iterator[float]:
    while True:
        yield rng.uniform(3, longest)


def _finished(spec: StudySpec, folder: Path) -> dict[int, Record]:
    path = folder / "runs" / spec.name
    if not path.is_dir():
        return {}
    trials = open_study(spec, path).get_trials(deepcopy=False)
    return {trial.number: Record.of_trial(trial) for trial in trials if trial.state.is_finished()}


if __name__ == "__main__":
    typer.run(main)
