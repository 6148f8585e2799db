"""Planted effects are found and named; what is not there is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import METRIC, links, seed_of

from compress.ablation import contrasts
from compress.ablation.contrasts import Chain, Figure, Seed, largest_block, measure, noise
from compress.ablation.effects import Effect, effects, interactions
from compress.ablation.ranking import rank
from compress.ablation.variants import Link

NAMES = ["a useful", "b harmful", "c useless", "d trade"]
CHAINS = [links(*order) for order in list(permutations(NAMES))[::3]]  # 8 orders, 2 from each first stage


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bootstrap samples are most of the work here; the module's own thousand are drawn in test_ablate.py."""
    monkeypatch.setattr(contrasts, "SAMPLES", 200)


def planted(chain: Chain) -> tuple[float, float]:
    """a halves the time; b errs 6 points more; c nothing; d is a fifth faster and errs 2 points more."""
    names = {link.name[0] for link in chain}
    error = 0.20 + 0.06 * ("b" in names) + 0.02 * ("d" in names)
    return error, (0.5 if "a" in names else 1.0) * (0.8 if "d" in names else 1.0)


def found(seeds: Sequence[Seed], names: Sequence[str] = NAMES, margin: float = 0.05) -> dict[str, Effect]:
    return {one.stage[0]: one for one in effects(names, "torch", seeds, margin)}


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    return [seed_of(i, CHAINS, planted, training=0.002) for i in range(3)]


def test_planted_stages_are_named() -> None:
    """An interval of 95 % misses once in twenty, so that of ten ablations one may."""
    named = {name: Counter[str]() for name in "abcd"}
    for number in range(10):
        seeds = [seed_of(10 * number + i, CHAINS, planted, training=0.002) for i in range(3)]
        for name, one in found(seeds).items():
            named[name][one.verdict] += 1
    assert named["a"] == {"useful": 10}
    assert named["b"] == {"harmful": 10}
    assert named["c"]["useful"] + named["c"]["harmful"] <= 1
    assert named["c"]["useless"] >= 8
    assert named["d"]["tie"] >= 9


def test_planted_effects_have_their_size(seeds: list[Seed]) -> None:
    got = found(seeds)
    assert got["d"].from_f1 == pytest.approx(-got["d"].from_cost, abs=0.05)  # a trade is a tie
    assert got["d"].from_f1 > 0.05
    assert got["a"].time.mean == pytest.approx(0.5, rel=0.02)
    assert -0.30 < got["a"].score_val.mean < -0.20  # half the base's time costs 0.25 points
    assert got["b"].f1_val.mean == pytest.approx(-0.06, abs=0.02)


def test_every_chain_and_beginning_is_a_context() -> None:
    seed = seed_of(0, [links(*order) for order in permutations("abc")], lambda chain: (0.2, 1.0))
    got = found([seed], ["a", "b", "c"])["a"]
    assert got.contexts == 1 + 4 + 6  # alone; beside b or c, first or last; three places in two orders
    assert got.seeds == 1


def test_too_few_images_make_a_tie_and_not_a_useless_stage() -> None:
    few = [seed_of(i, [links("c useless")], lambda c: (0.2, 1.0), training=0.02, count=40) for i in range(2)]
    got = found(few)["c"]
    assert got.verdict == "tie"
    assert "too wide" in got.why


def test_a_stage_that_declines_everywhere_is_skipped() -> None:
    def quiet(chain: Chain) -> tuple[float, float]:
        return planted(tuple(link for link in chain if link.name[0] != "c"))

    chains = [links("a useful", "c useless")]
    one = seed_of(0, chains, quiet, skipped=lambda chain: bool(chain) and chain[-1].name[0] == "c")
    whole, part = chains[0], chains[0][:1]
    one.chains[whole] = replace(one.chains[whole], score=one.chains[part].score)  # the same net
    got = found([one])["c"]
    assert (got.verdict, got.skipped) == ("skipped", 1)
    assert (got.score_val.low, got.score_val.high) == (
        0.0,
        0.0,
    )  # nor does the clock tell one net from itself


def test_a_stage_never_left_out_has_no_effect_to_show() -> None:
    names = ["a", "b"]
    seed = seed_of(0, [links("a", "b"), links("b")], lambda chain: (0.2, 1.0))
    assert list(found([seed], names)) == ["a", "b"]
    del seed.chains[()], seed.chains[links("b")]
    assert list(found([seed], names)) == ["b"]  # of a > b and a


def test_strengths_have_effects_of_their_own() -> None:
    def at(value: float) -> Chain:
        return (Link(0, "a", (("stages[0].target", value),)),)

    def truth(chain: Chain) -> tuple[float, float]:
        return 0.2, 1.0 - chain[0].values[0][1] if chain else 1.0

    seeds = [seed_of(i, [at(0.2), at(0.5)], truth) for i in range(3)]
    rows = effects(["a"], "torch", seeds, 0.05)
    assert len(rows) == 3
    by_value = {row.values[0][1]: row for row in rows if row.values}
    assert by_value[0.5].time.mean == pytest.approx(0.5, rel=0.02)
    assert by_value[0.2].time.mean == pytest.approx(0.8, rel=0.02)
    both = next(row for row in rows if not row.values)
    assert both.contexts == 2
    assert both.time.mean == pytest.approx((0.5 * 0.8) ** 0.5, rel=0.02)


def test_two_stages_that_only_help_together() -> None:
    def truth(chain: Chain) -> tuple[float, float]:
        names = {link.name for link in chain}
        return 0.2, 0.5 if {"a", "b"} <= names else 1.0 if "c" not in names else 0.9

    chains = [links(*order) for order in permutations("abc")]
    seeds = [seed_of(i, chains, truth, training=0.001) for i in range(3)]
    verdicts = {one.stages: one.verdict for one in interactions(["a", "b", "c"], "torch", seeds)}
    assert verdicts[("a", "b")] == "help each other"
    assert verdicts[("b", "c")] != "help each other"


def test_planted_orders_the_good_ones_are_tied_and_the_others_behind() -> None:
    def a_first(chain: Chain) -> bool:
        names = [link.name[0] for link in chain]
        return names.index("a") < names.index("b")

    def truth(chain: Chain) -> tuple[float, float]:
        return 0.2 + 0.08 * (len(chain) == 4 and not a_first(chain)), 0.6

    seeds = [seed_of(i, CHAINS, truth, training=0.002) for i in range(3)]
    ranks = rank(CHAINS, "torch", seeds)
    assert {one.chain for one in ranks if one.tied} == {chain for chain in CHAINS if a_first(chain)}
    assert ranks[0].tied
    assert [one.score_val for one in ranks] == sorted(one.score_val for one in ranks)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.4), st.floats(-0.05, 0.05), st.floats(0.6, 1.5))
def test_an_effect_is_the_mean_of_paired_differences(
    number: int, error: float, more: float, time: float
) -> None:
    def truth(chain: Chain) -> tuple[float, float]:
        names = {link.name for link in chain}
        return error + more * ("a" in names), time if "a" in names else 1.0

    chains = [links("a", "b"), links("b", "a")]
    seeds = [seed_of(number + i, chains, truth, count=60) for i in range(2)]
    got = effects(["a", "b"], "torch", seeds, 0.05)[0]
    pairs = [(links("a"), ()), (links("a", "b"), links("b")), (links("b", "a"), links("b"))]
    slow = [s.chains[x].score.points_val - s.chains[y].score.points_val for s in seeds for x, y in pairs]
    assert got.score_val.mean == pytest.approx(np.mean(slow))
    assert got.score_val.low <= got.score_val.mean <= got.score_val.high
    logs = [
        np.log(s.chains[x].score.time.median / s.chains[y].score.time.median) for s in seeds for x, y in pairs
    ]
    assert got.time.mean == pytest.approx(np.exp(np.mean(logs)))


def test_intervals_of_an_effect_cover_the_truth() -> None:
    """The image bootstrap, the clock and the seeds together, on a stage that truly does nothing."""
    hits = []
    for run in range(60):
        numbers = range(1000 * run, 1000 * run + 3)
        seeds = [seed_of(n, [links("a")], lambda c: (0.2, 1.0), training=0.01, count=150) for n in numbers]
        hits.append(measure({links("a"): 1.0, (): -1.0}, "score_val", seeds).has_zero)
    assert np.mean(hits) >= 0.87  # 95 % but for three binomial deviations


def test_a_seed_cut_short_does_not_count() -> None:
    seeds = [seed_of(i, CHAINS, planted) for i in range(3)]
    cut = replace(seeds[2], chains={k: v for k, v in seeds[2].chains.items() if len(k) < 2})
    got = found([*seeds[:2], cut])["a"]
    assert got.seeds == 2
    assert got.contexts == found(seeds)["a"].contexts


def test_a_chain_that_failed_in_one_seed_costs_that_chain_and_not_the_seed() -> None:
    seeds = [seed_of(i, CHAINS, planted) for i in range(3)]
    del seeds[1].chains[CHAINS[3]]
    assert len(rank(CHAINS, "torch", seeds)) == len(CHAINS) - 1
    assert rank(CHAINS, "torch", seeds)[0].seeds == 3


@given(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=4))
def test_the_largest_block_is_common_to_its_seeds(sets: list[set[int]]) -> None:
    seeds = [Seed(i, METRIC, {}, {}) for i in range(len(sets))]
    items, some = largest_block(seeds, sets)
    assert all(set(items) <= sets[seed.seed] for seed in some)
    assert len(items) * len(some) >= max(map(len, sets))


def test_images_that_seeds_share_do_not_average_out() -> None:
    """All seeds have the same test images and other val images."""

    def truth(chain: Chain) -> tuple[float, float]:
        return (0.25, 1.0) if chain else (0.2, 1.0)

    seeds = [seed_of(i, [links("a")], truth, training=0.0, clock=1e-6) for i in range(12)]

    def known(figure: Figure, some: Sequence[Seed]) -> float:
        of = noise({links("a"): 1.0, (): -1.0}, figure, some)
        return of.own + of.shared

    assert known("f1_val", seeds) < 0.2 * known("f1_val", seeds[:1])
    assert known("f1_test", seeds) > 0.4 * known("f1_test", seeds[:1])
    assert noise({links("a"): 1.0, (): -1.0}, "f1_val", seeds).shared == 0.0
