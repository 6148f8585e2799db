"""Chains ranked by their score on val, and which of them are tied with the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.ablation.contrasts import Chain, Contrast, Figure, Seed, largest_block, measure, noise
from compress.ablation.estimates import Estimate, Noise, behind_the_best


@dataclass(frozen=True)
class Rank:
    """One net's place.

    Attributes:
        chain: the first variant that ends with this net; ``same``: the others, as where stages were skipped.
        score_val, score_test: means over the seeds.
        behind: of score_val, to the best chain's; the intervals of one list hold together (Tukey).
        behind_test: the same difference, to the same chain, on test; not simultaneous.
        best: whether it is the best; another net may be exactly as good.
        tied: ``behind`` contains 0; the best is tied with itself.
    """

    chain: Chain
    same: tuple[Chain, ...]
    runtime: str
    seeds: int
    score_val: float
    score_test: float
    behind: Estimate
    behind_test: Estimate
    best: bool
    tied: bool


def rank(chains: Sequence[Chain], runtime: str, seeds: Sequence[Seed]) -> list[Rank]:
    """The chains that were measured in the same seeds, best first; those that end with one net are one."""
    found, some = largest_block(seeds, [{c for c in chains if c in seed.chains} for seed in seeds])
    nets: dict[tuple[str, ...], list[Chain]] = {}
    for chain in sorted(found, key=list(chains).index):
        nets.setdefault(tuple(seed.chains[chain].net for seed in some), []).append(chain)
    kept = [same[0] for same in nets.values()]
    if not kept:
        return []
    values = np.array([[seed.value({chain: 1.0}, "score_val") for chain in kept] for seed in some])
    best = kept[int(values.mean(axis=0).argmin())]
    behind = behind_the_best(values, [_noise(chain, best, "score_val", some) for chain in kept])
    ranks = [_rank(same, best, runtime, some, b) for same, b in zip(nets.values(), behind, strict=True)]
    return sorted(ranks, key=lambda one: one.score_val)


def _rank(same: Sequence[Chain], best: Chain, runtime: str, seeds: Sequence[Seed], behind: Estimate) -> Rank:
    chain = same[0]

    def mean(figure: Figure) -> float:
        return float(np.mean([seed.value({chain: 1.0}, figure) for seed in seeds]))

    on_test = Estimate(0.0, 0.0, 0.0)
    if chain != best:
        on_test = measure(_difference(chain, best), "score_test", seeds)
    score = mean("score_val")
    test = mean("score_test")
    same, tied = tuple(same[1:]), behind.has_zero
    return Rank(chain, same, runtime, len(seeds), score, test, behind, on_test, chain == best, tied)


def _noise(chain: Chain, best: Chain, figure: Figure, seeds: Sequence[Seed]) -> Noise:
    return Noise(0.0, 0.0) if chain == best else noise(_difference(chain, best), figure, seeds)


def _difference(chain: Chain, best: Chain) -> Contrast:
    return {chain: 1.0, best: -1.0}
