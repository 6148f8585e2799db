"""Multi-fidelity: whose training goes on, and what its pauses were worth as a forecast.

A candidate has one training, with one schedule, that is paused at each rung: after equally many epochs, hence
at equal learning rates, it is compared with those that were there before, and goes on from where it is (Li et
al., A system for massively parallel hyperparameter tuning, 2020). A schedule of its own for each rung would
show earlier what a net can do, as its learning rate comes down; but what it has learnt could not be kept:
with rungs of 8, 24 and 60 epochs one that climbs them all would be trained for 92.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from search.records import TRAINED_ELSEWHERE, Record
from search.worth import best_first


@dataclass(frozen=True)
class Correlation:
    """Spearman's, of F1 on val after fewer and more epochs of the same trainings, or of a proxy and F1.

    Of those that went on alone: they are alike at the first, which makes it smaller than over all candidates.

    Attributes:
        n: candidates; below three there is no ``rho``, nor where one side is constant.
    """

    of: str
    to: str
    rho: float | None
    n: int

    def __str__(self) -> str:
        value = "unknown" if self.rho is None else f"{self.rho:+.2f}"
        return f"rank correlation {self.of} to {self.to}: {value} (n = {self.n})"


def goes_on(
    own: dict[str, float],
    peers: Sequence[dict[str, float]],
    objectives: Sequence[str],
    keep: float,
    base: Mapping[str, float],
) -> bool:
    """Whether a candidate is among the best ``keep`` of all at its rung so far; see ``worth.best_first``.

    Args:
        own, peers: measured after the rung's epochs; ``own`` is among the peers.
        base: the baseline's, measured.
    """
    ordered = [peers[i] for i in best_first(peers, objectives, base)]
    return ordered.index(own) < max(1, math.floor(keep * len(peers)))


def correlations(records: Sequence[Record], epochs: Sequence[int], proxy: str | None) -> list[Correlation]:
    """Of each two rungs, of shared weights with fine-tuned ones, of the proxy with the full training."""
    found = []
    records = [r for r in records if r.outcome not in TRAINED_ELSEWHERE]
    for short, long in combinations(epochs, 2):
        pairs = [
            (a, b) for r in records if None not in (a := _f1(r, short, epochs), b := _f1(r, long, epochs))
        ]
        found.append(_spearman(f"{short} epochs", f"{long}", pairs))
    pairs = [(r.shared["f1"], r.measured["f1"]) for r in records if r.shared]
    if pairs:
        found.append(_spearman("shared weights", "fine-tuned", pairs))
    if proxy is not None:
        pairs = [
            (r.proxy, r.measured["f1"]) for r in records if r.outcome == "evaluated" and r.proxy is not None
        ]
        found.append(_spearman(proxy, "F1", pairs))
    return found


def _f1(record: Record, epochs: int, rungs: Sequence[int]) -> float | None:
    if epochs != rungs[-1]:
        return record.rungs.get(epochs, {}).get("f1")
    return record.measured.get("f1") if record.outcome == "evaluated" else None


def _spearman(of: str, to: str, pairs: Sequence[tuple[float | None, float | None]]) -> Correlation:
    from scipy.stats import spearmanr

    columns = list(zip(*pairs, strict=True))
    if len(pairs) < 3 or any(len(set(column)) == 1 for column in columns):
        return Correlation(of, to, None, len(pairs))
    return Correlation(of, to, float(spearmanr(*columns).statistic), len(pairs))
