"""The gate keeps what paid, and noise in the clock alone never keeps a stage."""

from __future__ import annotations

from compress.gate import Evidence, Within, decide
from compress.ratio import Ratio


def test_better_keeps_a_faster_stage() -> None:
    kept, why = decide("better", Evidence(parent=1.0, candidate=0.8, tied=1.0, ratio=Ratio(1.0, 0.5, 0.6)))
    assert kept
    assert "1.000 -> 0.800" in why


def test_better_drops_an_equal_or_worse_stage() -> None:
    assert not decide("better", Evidence(1.0, 1.0, 1.0, Ratio(1.15, 1.1, 1.2)))[0]
    assert not decide("better", Evidence(1.0, 1.1, 1.0, Ratio(1.15, 1.1, 1.2)))[0]


def test_a_time_tie_alone_keeps_the_parent() -> None:
    # points improved only through a time that is not distinguishable from the parent's
    kept, why = decide("better", Evidence(parent=1.0, candidate=0.99, tied=1.0, ratio=Ratio(1.0, 0.95, 1.02)))
    assert not kept
    assert "a tie" in why


def test_a_time_tie_with_better_f1_is_kept() -> None:
    assert decide("better", Evidence(parent=1.0, candidate=0.90, tied=0.92, ratio=Ratio(1.0, 0.95, 1.02)))[0]


def test_a_time_tie_must_also_show_in_the_score() -> None:
    assert not decide(
        "better", Evidence(parent=1.0, candidate=1.01, tied=0.99, ratio=Ratio(1.0, 0.99, 1.05))
    )[0]


def test_within_and_always() -> None:
    evidence = Evidence(parent=1.0, candidate=1.015, tied=1.01, ratio=Ratio(1.0, 1.01, 1.02))
    assert decide(Within(within=0.02), evidence)[0]
    assert not decide(Within(within=0.01), evidence)[0]
    assert decide("always", evidence)[0]
