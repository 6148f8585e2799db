"""What a sampler learns behind limits and rungs: how good the nets are that it chooses to train.

python benchmarks/search_learning.py [--seeds 5] [--trials 60] [--sampler random --sampler tpe]
                                     [--objectives f1 --objectives f1,ms]

A study as recipes/spaces/cpu.yaml says, with its space, limits, rungs and twelve candidates for each one that
is trained; but nothing is trained. Every choice in the space has a worth, drawn by the seed; a net's F1
follows from their sum and from its size, seen with the noise of some 300 photos, and after fewer epochs less
of it. Its time follows from its size, and a quarter of all nets is within the limit. The proxy is noise: what
is left is the sampler's doing. For each: F1 without noise, of the nets trained in the second half of a study
and of the best of those trained fully that is within the limit, means with 95 % intervals over seeds. Random
draws are what others must beat. Minutes on one core; no data, no clock.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import mean, pstdev
from typing import Annotated, Any

import typer

from compress.ablation.estimates import Noise, estimate
from compress.models import arch
from search.candidate import Candidate
from search.claims import Claims
from search.dice import Dice
from search.records import BASE, Record
from search.sample import suggest
from search.spec import StudySpec
from search.storage import open_study
from search.study import Loop

STUDY = "recipes/spaces/cpu.yaml"
DRAWS = 400  # nets, to know what is usual in the space
FAST = 0.25  # so many are within the limit
SEEN = 0.02  # standard deviation of F1 on some 300 photos
GAIN = {"worth": 0.08, "size": 0.04}  # F1 for each standard deviation of either


class Heard(Dice):
    """Dice that remember what they said."""

    @cached_property
    def said(self) -> dict[str, Any]:
        return {}

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self.said.setdefault(name, super().suggest_int(name, low, high, step=step))  # type: ignore[no-any-return]

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return self.said.setdefault(name, super().suggest_float(name, low, high, step=step, log=log))  # type: ignore[no-any-return]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.said.setdefault(name, super().suggest_categorical(name, choices))


class Artificial:
    """An objective whose answers take no time."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self._drawn: dict[str, dict[str, Any]] = {}
        rng = random.Random(f"usual {spec.seed}")
        usual = []
        for _ in range(DRAWS):
            dice = Heard(random.Random(rng.random()))
            candidate = suggest(spec.space, dice)
            usual.append((self._worth(dice.said), self._size(candidate)))
        worths, sizes = zip(*usual, strict=True)
        self._usual = {"worth": (mean(worths), pstdev(worths)), "size": (mean(sizes), pstdev(sizes))}
        self.limit = sorted(sizes)[int(FAST * DRAWS)]

    def baseline_values(self) -> dict[str, Any]:
        ratio = self.spec.limits.latency_ratio if self.spec.limits else None
        assert ratio is not None
        return {"f1": 0.6, "ms": self.limit / ratio, "params": 1.0, "macs": 1.0, "score": 1.0}

    def take_up(self, base: Mapping[str, Any]) -> None:
        """It has no other to compare with."""

    def sample(self, trial: Any) -> Candidate:
        candidate = suggest(self.spec.space, trial)
        self._drawn[candidate.key] = dict(trial.params)
        return candidate

    def costs(self, candidate: Candidate, needed: bool) -> dict[str, float]:
        return {"params": 1.0, "macs": 1.0, "ms": self._size(candidate)}

    def proxy(self, candidate: Candidate) -> float:
        return self._luck(candidate, "proxy")

    def refusal(self, candidate: Candidate) -> str | None:
        return None

    def short(self, candidate: Candidate, epochs: int) -> dict[str, float]:
        learnt = (epochs / self.spec.train.epochs) ** 0.5
        f1 = learnt * self.true(candidate) + SEEN * self._luck(candidate, epochs)
        costs = self.costs(candidate, True)
        return {**costs, "f1": f1, "score": costs["ms"] / self.limit + 1 - f1}

    def evaluate(self, candidate: Candidate) -> dict[str, float]:
        return self.short(candidate, self.spec.train.epochs)

    def forget(self, candidate: Candidate) -> None:
        """Nothing was begun."""

    def true(self, candidate: Candidate) -> float:
        """F1 after all epochs, without noise."""
        of = {"worth": self._worth(self._drawn[candidate.key]), "size": self._size(candidate)}
        f1 = 0.6 + sum(GAIN[k] * (v - self._usual[k][0]) / self._usual[k][1] for k, v in of.items())
        return min(max(f1, 0.05), 0.95)

    def _worth(self, drawn: Mapping[str, Any]) -> float:
        seed = self.spec.seed
        return sum(random.Random(f"{seed} {name} {value}").gauss(0, 1) for name, value in drawn.items())

    def _size(self, candidate: Candidate) -> float:
        rows = arch.plan(candidate.model, size=candidate.image_size).rows
        return 1e-6 * candidate.image_size**2 * sum(layer.channels for row in rows for layer in row)

    def _luck(self, candidate: Candidate, what: object) -> float:
        return random.Random(f"{self.spec.seed} {candidate.key} {what}").gauss(0, 1)


def main(
    seeds: int = 5,
    trials: int = 60,
    sampler: Annotated[list[str] | None, typer.Option(help="random and tpe when left out.")] = None,
    objectives: Annotated[list[str] | None, typer.Option(help="f1 and f1,ms when left out.")] = None,
) -> None:
    """Run the studies and print what was trained in them."""
    print(f"{STUDY}, {trials} candidates trained, {seeds} seeds: F1 without noise (95 %)")
    print(f"{'objectives':12}{'sampler':10}{'trained, second half':24}{'best trained fully':24}")
    for names in objectives or ["f1", "f1,ms"]:
        for kind in sampler or ["random", "tpe"]:
            found = [studied(names, kind, seed, trials) for seed in range(seeds)]
            columns = [estimate(values, Noise(0, 0)) for values in zip(*found, strict=True)]
            cells = "".join(f"{f'{e.mean:.3f} ({e.low:.3f} to {e.high:.3f})':24}" for e in columns)
            print(f"{names:12}{kind:10}{cells}", flush=True)


def studied(objectives: str, sampler: str, seed: int, trials: int) -> tuple[float, float]:
    """Of one study: the mean F1 of the second half of what was trained, and the best one's."""
    changes = [f"objectives=[{objectives}]", f"sampler={{kind: {sampler}}}", f"seed={seed}"]
    spec = StudySpec.from_yaml(
        STUDY, [*changes, f"trials={trials}", "max_hours=null", "storage=journal"], files=False
    )
    objective = Artificial(spec)
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(spec, Path(folder))
        study.set_user_attr(BASE, objective.baseline_values())
        claims = Claims.of(spec.storage, spec.name, Path(folder))
        Loop(spec, study, objective, claims, lambda line: None).run()
        records = [Record.of_trial(trial) for trial in study.get_trials(deepcopy=False)]
    trained = [r for r in records if r.outcome in ("evaluated", "stopped") and r.candidate]
    true = {r.number: objective.true(r.candidate) for r in trained if r.candidate}
    fully = [true[r.number] for r in trained if r.outcome == "evaluated"]
    return mean([true[r.number] for r in trained][len(trained) // 2 :]), max(fully)


if __name__ == "__main__":
    typer.run(main)
