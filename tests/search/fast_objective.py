"""A real study with an objective that takes milliseconds; as a program, one that is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compress.errors import CompressError, InputError
from search.candidate import Candidate
from search.claims import Claims
from search.records import BASE, Record
from search.sample import suggest
from search.spec import StudySpec
from search.storage import open_study
from search.study import Loop

SPACE: dict[str, Any] = {
    "image_size": 32,
    "slots": [
        {"blocks": [{"kind": "Conv", "channels": {"low": 8, "high": 128, "step": 8}, "stride": [1, 2]}]},
        {
            "blocks": [
                {"kind": "Conv", "channels": {"low": 8, "high": 128, "step": 8}, "stride": [1, 2]},
                {"kind": "Pass"},
            ]
        },
    ],
    "head": {"channels": {"low": 16, "high": 128, "step": 16}},
}
TINY = {**SPACE, "slots": SPACE["slots"][:1], "head": {"channels": 16}}
TINY["slots"] = [{"blocks": [{"kind": "Conv", "channels": [8, 16], "stride": [1, 2]}]}]


def study_spec(**parts: Any) -> StudySpec:
    return StudySpec.model_validate({"name": "fast", "space": SPACE, "sampler": {"kind": "random"}, **parts})


class Fast:
    """Answers that follow from the candidate; each evaluation's begin and end is a line of ``diary``."""

    def __init__(self, spec: StudySpec, diary: Path, seconds: float = 0.0) -> None:
        self.spec, self.diary, self.seconds = spec, diary, seconds
        self.forgotten: list[str] = []

    def baseline_values(self) -> dict[str, float]:
        return {"f1": 0.5, "ms": 1.0, "params": 50_000, "macs": 1e6, "score": 1.0}

    def take_up(self, base: Mapping[str, Any]) -> None:
        pass

    def sample(self, trial: Any) -> Candidate:
        return suggest(self.spec.space, trial)

    def costs(self, candidate: Candidate, needed: bool) -> dict[str, float]:
        channels = [row[2][0] for row in candidate.model["backbone"][:-2]]
        params = float(sum(a * b for a, b in zip([3, *channels], channels, strict=False)))
        return {"params": params, "macs": 100 * params, "ms": params / 2e4}

    def proxy(self, candidate: Candidate) -> float:
        return self.costs(candidate, True)["params"]

    def refusal(self, candidate: Candidate) -> str | None:
        return None

    def short(self, candidate: Candidate, epochs: int) -> dict[str, float]:
        return self._after(candidate, epochs)

    def evaluate(self, candidate: Candidate) -> dict[str, float]:
        self._note("begin", candidate)
        time.sleep(self.seconds)
        found = self._after(candidate, 100)
        self._note("end", candidate)
        return found

    def forget(self, candidate: Candidate) -> None:
        self.forgotten.append(candidate.key)

    def _after(self, candidate: Candidate, epochs: int) -> dict[str, float]:
        costs = self.costs(candidate, True)
        luck = int(candidate.key[:6], 16) / 16**6
        f1 = 1 - 1 / (1 + costs["params"] / 1e4) - luck / (5 + epochs)
        return {**costs, "f1": f1, "score": costs["ms"] / 2 + 1 - f1}

    def _note(self, what: str, candidate: Candidate) -> None:
        with self.diary.open("a") as file:
            file.write(f"{what} {candidate.key}\n")


class Raising(Fast):
    """Fails where ``fails`` says so, as a diverging training does."""

    fails: Callable[[int], bool] = staticmethod(lambda number: True)
    error: type[Exception] = CompressError

    def evaluate(self, candidate: Candidate) -> dict[str, float]:
        self.calls = getattr(self, "calls", 0) + 1
        if self.fails(self.calls):
            raise self.error("the loss became NaN")
        return super().evaluate(candidate)


def fast(spec: StudySpec, log: object, note: object) -> Fast:
    """What other processes make; the diary lies where they run."""
    return Fast(spec, Path(os.environ["FAST_DIARY"]), 0.02)


def broken(spec: StudySpec, log: object, note: object) -> Fast:
    """The same, that finds something wrong with the study."""
    found = Raising(spec, Path(os.environ["FAST_DIARY"]))
    found.error = InputError
    return found


def loop(spec: StudySpec, folder: Path, objective: Fast | None = None, log: Any = None) -> Loop:
    """One worker's loop, as ``python -m search`` makes it."""
    folder.mkdir(exist_ok=True)
    study = open_study(spec, folder)
    lines = log if log is not None else []
    objective = objective or Fast(spec, folder / "diary")
    if BASE not in study.user_attrs:  # as conduct does
        study.set_user_attr(BASE, objective.baseline_values())
    return Loop(spec, study, objective, Claims.of(spec.storage, spec.name, folder), lines.append)


def finished(spec: StudySpec, folder: Path) -> dict[int, list[Any]]:
    """State, outcome and values of every trial that has ended."""
    trials = open_study(spec, folder).get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.is_finished()]
    return {t.number: [t.state.name, Record.of_trial(t).outcome, t.values] for t in ended}


def _life(spec: StudySpec, folder: Path, ready: int, wait: bool) -> None:
    """A process of the study, until it is killed."""
    if not wait:
        os.write(ready, b".")
    once = loop(spec, folder, Fast(spec, folder / "diary", 0.01))
    if wait:
        os.write(ready, b".")
    once.run()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def main() -> None:
    """Kill a study so often, then let it end; print what was finished after each kill, as JSON."""
    folder, storage, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    rng = random.Random(1)
    spec = study_spec(storage=storage, trials=100_000)
    seen: list[dict[int, list[Any]]] = []
    begun: list[int] = []
    diary = folder / "diary"
    for _ in range(kills):
        reader, writer = os.pipe()
        wait = rng.random() < 0.8  # else it may be killed while it starts
        child = os.fork()
        if child == 0:
            _life(spec, folder, writer, wait)
            os._exit(1)
        os.read(reader, 1)
        if rng.random() < 0.5:
            time.sleep(rng.uniform(0, 0.1))
        else:  # in an evaluation, or soon after
            before = _size(diary)
            while _size(diary) == before:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it ended before it was killed"
        os.close(reader)
        os.close(writer)
        seen.append(finished(spec, folder))
        begun.append(len(diary.read_text().splitlines()) if diary.exists() else 0)
    outcomes = [outcome for _, outcome, _ in seen[-1].values()]
    more = sum(outcome in ("evaluated", "failed", "stopped") for outcome in outcomes) + 5
    loop(spec.model_copy(update={"trials": more}), folder).run()
    seen.append(finished(spec, folder))
    print(json.dumps({"seen": seen, "begun": begun, "trials": more}))


if __name__ == "__main__":
    main()
