"""What each stage earned: the mean of chains with it minus the same chains without it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from compress.ablation.contrasts import Chain, Figure, Seed, largest_block, measure
from compress.ablation.estimates import Estimate

Values = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Effect:
    """One stage's mean effect over contexts, which are chains measured both with and without it.

    Attributes:
        values: the strength it is the effect of, where the sweep has several; empty for all of them.
        contexts, seeds: how many pairs of chains a seed has, and how many seeds.
        skipped: of all contexts x seeds, those in which the stage declined by itself.
        score_val, score_test: with minus without it, below 0 when it helps.
        from_f1, from_cost: the parts of score_val that come from F1, and from the time or the MACs.
        f1_val, f1_test: with minus without it.
        time: of the time that the metric counts, with / without (geometric mean).
        verdict: useful or harmful: the interval of score_val excludes 0. useless: it contains 0 and lies
            within the margin, as do both parts. tie: anything else, as a gain that costs as much, or an
            interval too wide to tell. skipped: the stage declined everywhere.
    """

    stage: str
    runtime: str
    values: Values
    contexts: int
    seeds: int
    skipped: int
    score_val: Estimate
    score_test: Estimate
    from_f1: float
    from_cost: float
    f1_val: Estimate
    f1_test: Estimate
    time: Estimate
    verdict: str
    why: str


@dataclass(frozen=True)
class Interaction:
    """The effect of two stages together minus the effects of each alone; below 0 they help each other."""

    stages: tuple[str, str]
    runtime: str
    contexts: int
    seeds: int
    score_val: Estimate
    score_test: Estimate
    verdict: str
    why: str


def effects(names: Sequence[str], runtime: str, seeds: Sequence[Seed], margin: float) -> list[Effect]:
    """One for each stage, and one for each strength it was swept at; none for a stage never left out."""
    found = []
    for index, name in enumerate(names):
        levels = {
            link.values for seed in seeds for chain in seed.chains for link in chain if link.index == index
        }
        each: list[Values | None] = [None, *sorted(levels, key=repr)] if len(levels) > 1 else [None]
        for values in each:
            pairs, some = largest_block(seeds, [set(_pairs(seed, index, values)) for seed in seeds])
            if pairs:
                found.append(_effect(name, runtime, values or (), pairs, some, index, margin))
    return found


def interactions(names: Sequence[str], runtime: str, seeds: Sequence[Seed]) -> list[Interaction]:
    """One for each two stages that were seen together, each alone, and both left out of the same chain."""
    found = []
    for a, b in combinations(range(len(names)), 2):
        quads, some = largest_block(seeds, [set(_quads(seed, a, b)) for seed in seeds])
        if not quads:
            continue
        signs = (1, -1, -1, 1)
        contrast = _contrast([term for quad in quads for term in zip(quad, signs, strict=True)], len(quads))
        val, test = (measure(contrast, figure, some) for figure in ("score_val", "score_test"))
        verdict = "tie" if val.has_zero else "help each other" if val.high < 0 else "in each other's way"
        why = f"together {val.mean:+.3f} points beside the sum of both ({_range(val)})"
        seen = [(seed, quad[0]) for seed in some for quad in quads]
        if all(_declined(seed, chain, a) or _declined(seed, chain, b) for seed, chain in seen):
            verdict, why = "skipped", "one of them declined wherever both were asked for"
        two = (names[a], names[b])
        found.append(Interaction(two, runtime, len(quads), len(some), val, test, verdict, why))
    return found


def _effect(
    name: str,
    runtime: str,
    values: Values,
    pairs: Sequence[tuple[Chain, Chain]],
    seeds: Sequence[Seed],
    index: int,
    margin: float,
) -> Effect:
    contrast = _contrast([term for pair in pairs for term in zip(pair, (1, -1), strict=True)], len(pairs))

    def got(figure: Figure) -> Estimate:
        return measure(contrast, figure, seeds)

    skipped = sum(_declined(seed, chain, index) for seed in seeds for chain, _ in pairs)
    val = got("score_val")
    from_f1 = sum(_from_f1(seed, *pair) for seed in seeds for pair in pairs) / len(pairs) / len(seeds)
    parts = from_f1, val.mean - from_f1
    verdict, why = _verdict(val, parts, margin, skipped == len(pairs) * len(seeds))
    return Effect(
        stage=name,
        runtime=runtime,
        values=values,
        contexts=len(pairs),
        seeds=len(seeds),
        skipped=skipped,
        score_val=val,
        score_test=got("score_test"),
        from_f1=parts[0],
        from_cost=parts[1],
        f1_val=got("f1_val"),
        f1_test=got("f1_test"),
        time=got("time").exp(),
        verdict=verdict,
        why=why,
    )


def _verdict(score: Estimate, parts: tuple[float, float], margin: float, never: bool) -> tuple[str, str]:
    """Word and reason; ``parts``: points from F1 and from the time or MACs."""
    if never:
        return "skipped", "it declined in every chain, for the reasons its steps give"
    moved = f"{score.mean:+.3f} points ({_range(score)}; {parts[0]:+.3f} by F1, {parts[1]:+.3f} by its cost)"
    if not score.has_zero:
        return ("useful" if score.high < 0 else "harmful"), moved
    if max(-score.low, score.high, abs(parts[0]), abs(parts[1])) <= margin:
        return "useless", f"{moved}: nothing beyond {margin:g} points either way"
    if max(-score.low, score.high) <= margin:
        return "tie", f"{moved}: what one part gains the other loses"
    return "tie", f"{moved}: the interval contains 0 and is too wide to call it useless"


def _from_f1(seed: Seed, chain: Chain, without: Chain) -> float:
    """Points on val that the change of F1 alone would make."""
    new, old = seed.chains[chain].score, seed.chains[without].score
    metric = seed.metric.with_base(f1=old.base.f1_val, time=old.base.time_ms, macs=old.base.macs)
    time = old.base.time_ms * old.time.median
    points = [metric.points(f1=f1, time=time, macs=old.macs) for f1 in (new.f1_val, old.f1_val)]
    return points[0] - points[1]


def _range(estimate: Estimate) -> str:
    return f"95 % {estimate.low:+.3f} to {estimate.high:+.3f}"


def _pairs(seed: Seed, index: int, values: Values | None) -> Iterator[tuple[Chain, Chain]]:
    """Chains with stage ``index`` (at strength ``values``), and the same without it."""
    for chain in seed.chains:
        if any(link.index == index and values in (None, link.values) for link in chain):
            without = _without(chain, index)
            if without in seed.chains:
                yield chain, without


def _quads(seed: Seed, a: int, b: int) -> Iterator[tuple[Chain, Chain, Chain, Chain]]:
    for chain in seed.chains:
        if {a, b} <= {link.index for link in chain}:
            rest = _without(chain, a), _without(chain, b), _without(_without(chain, a), b)
            if all(one in seed.chains for one in rest):
                yield (chain, *rest)


def _without(chain: Chain, index: int) -> Chain:
    return tuple(link for link in chain if link.index != index)


def _declined(seed: Seed, chain: Chain, index: int) -> bool:
    """Whether the stage was skipped in this chain: nothing was measured at its step."""
    place = next(i for i, link in enumerate(chain) if link.index == index)
    return seed.chains[chain[: place + 1]].step.score is None


def _contrast(terms: Sequence[tuple[Chain, int]], contexts: int) -> dict[Chain, float]:
    """Mean over the contexts; a chain that is in several is counted as often."""
    signs: dict[Chain, int] = defaultdict(int)
    for chain, sign in terms:
        signs[chain] += sign
    return {chain: sign / contexts for chain, sign in signs.items()}
