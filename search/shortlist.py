"""Which of several untrained candidates is trained: the proxy stands in for F1, never for the cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.candidate import Candidate
from search.records import dominates

if TYPE_CHECKING:
    from optuna import Trial

    from search.spec import StudySpec


@dataclass
class Looked:
    """A candidate within the limits; ``costs`` are what is known without training, lower is better."""

    trial: Trial
    candidate: Candidate
    costs: dict[str, float]
    proxy: float = float("-inf")


def pick(looked: Sequence[Looked], spec: StudySpec) -> Looked:
    """The one to train.

    With F1 as the one objective that is the best by proxy. Proxies favour large nets; so beside a cost it is
    any one, drawn, that no other beats at no more cost: time where that counts and is known, else
    multiply-accumulates.
    """
    objectives, by_macs = spec.objectives, spec.metric.kind == "f1_macs"
    numbers = [one.trial.number for one in looked]
    if list(objectives) == ["f1"]:
        return max(looked, key=lambda one: one.proxy)
    timed = all("ms" in one.costs for one in looked)
    costs: list[str] = [name for name in objectives if name in ("params", "macs")]
    if "ms" in objectives or "score" in objectives:
        costs.append("ms" if timed and not ("score" in objectives and by_macs) else "macs")
    vectors = [(-one.proxy, *(one.costs[name] for name in costs)) for one in looked]
    best = [
        one for one, own in zip(looked, vectors, strict=True) if not any(dominates(o, own) for o in vectors)
    ]
    return random.Random(f"{spec.seed} {numbers}").choice(best)
