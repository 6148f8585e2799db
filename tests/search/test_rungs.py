"""Who goes on to a longer training, and how well a short one foretold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.records import Record
from search.rungs import correlations, goes_on


def values(f1: float, ms: float) -> dict[str, float]:
    return {"f1": f1, "ms": ms, "params": 1.0, "macs": 1.0, "score": ms + 1 - f1}


BASE = values(0.5, 2.0)


def test_the_first_one_always_goes_on() -> None:
    one = values(0.1, 9.0)
    assert goes_on(one, [one], ["f1", "ms"], 0.33, BASE)


def test_a_third_of_many_goes_on() -> None:
    peers = [values(f1 / 30, 1.0) for f1 in range(30)]
    on = [goes_on(one, peers, ["f1"], 1 / 3, BASE) for one in peers]
    assert on == [False] * 20 + [True] * 10


def test_with_two_objectives_what_nothing_dominates_comes_first() -> None:
    front = [values(0.9, 3.0), values(0.5, 1.0)]
    rest = [values(0.4, 2.0), values(0.3, 3.0)]
    peers = [*rest, *front]
    assert [goes_on(one, peers, ["f1", "ms"], 0.5, BASE) for one in peers] == [False, False, True, True]
    assert [goes_on(one, peers, ["f1", "ms"], 0.25, BASE) for one in peers].count(True) == 1


def test_the_fastest_does_not_go_on_for_being_fast_alone() -> None:
    """Nothing dominates it, but beside a net that takes a little longer it adds next to nothing."""
    fast, others = values(0.2, 0.1), [values(0.6, 0.15), values(0.7, 0.5), values(0.65, 0.4)]
    peers = [fast, *others, values(0.1, 0.3), values(0.3, 0.6)]
    on = [goes_on(one, peers, ["f1", "ms"], 0.34, BASE) for one in peers]
    assert on == [False, True, True, False, False, False]


def test_beside_a_fast_baseline_what_is_exact_still_counts() -> None:
    peers = [values(0.9, 30.0), values(0.3, 16.0), values(0.85, 28.0), values(0.25, 17.0), values(0.2, 33.0)]
    on = [goes_on(one, peers, ["f1", "ms"], 0.4, BASE) for one in peers]
    assert on == [False, True, True, False, False]


def test_costs_alone_can_be_objectives() -> None:
    peers = [values(0.9, 3.0), values(0.1, 1.0), values(0.5, 2.0)]
    assert [goes_on(one, peers, ["ms", "params"], 0.34, BASE) for one in peers] == [False, True, False]


def record(number: int, short: float, long: float | None) -> Record:
    outcome = "stopped" if long is None else "evaluated"
    measured = {} if long is None else {"f1": long}
    return Record(number, "", outcome, None, None, measured, {3: {"f1": short}}, proxy=-short)


def test_rank_correlations_are_of_those_that_went_on() -> None:
    records = [record(0, 0.1, None), record(1, 0.2, 0.5), record(2, 0.3, 0.7), record(3, 0.4, 0.6)]
    short, proxy = correlations(records, (3, 10), "naswot")
    assert (short.n, proxy.n) == (3, 3)
    assert short.rho == pytest.approx(0.5)
    assert proxy.rho == pytest.approx(-0.5)
    assert str(short) == "rank correlation 3 epochs to 10: +0.50 (n = 3)"


def test_a_training_that_was_cut_off_or_is_another_trials_counts_once() -> None:
    records = [record(0, 0.1, 0.2), record(1, 0.2, 0.3), record(2, 0.3, 0.1)]
    once = correlations(records, (3, 10, 20), "naswot")
    copies = [replace(r, outcome=o) for r in records[:2] for o in ("interrupted", "duplicate")]
    rungs = {3: {"f1": 0.9}, 10: {"f1": 0.1}}
    copies = [replace(copy, rungs=rungs) for copy in copies]
    assert correlations([*records, *copies], (3, 10, 20), "naswot") == once


def test_with_too_few_there_is_none() -> None:
    (found,) = correlations([record(0, 0.1, 0.2), record(1, 0.2, 0.3)], (3, 10), None)
    assert found.rho is None
    assert "unknown (n = 2)" in str(found)
