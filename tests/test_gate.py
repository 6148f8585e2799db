"""The gate keeps what paid, and noise in the clock alone never keeps a stage."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from compress.gate import Evidence, Within, decide
from compress.ratio import Ratio


def seen(
    parent: float, candidate: float, tied: float, ratio: Ratio, noise: float = 0.01, n: int = 1000
) -> Evidence:
    """Evidence whose resampled differences scatter normally about the measured one."""
    grid = (np.arange(n) + 0.5) / n
    spread = noise * np.sqrt(2) * np.vectorize(_erfinv)(2 * grid - 1)
    return Evidence(parent, candidate, tied, ratio, list(candidate - parent + spread))


def _erfinv(x: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(x))


def test_better_keeps_a_faster_stage() -> None:
    kept, why = decide("better", seen(parent=1.0, candidate=0.8, tied=1.0, ratio=Ratio(0.55, 0.5, 0.6)))
    assert kept
    assert why == (
        "better; score_val 1.000 -> 0.800 beside its parent (more than noise: 95 % of the change -0.220 to "
        "-0.180), time x0.500 to x0.600 of its parent's"
    )


def test_better_drops_an_equal_or_worse_stage() -> None:
    assert not decide("better", seen(1.0, 1.0, 1.0, Ratio(1.15, 1.1, 1.2)))[0]
    assert not decide("better", seen(1.0, 1.1, 1.0, Ratio(1.15, 1.1, 1.2)))[0]


def test_a_time_tie_alone_keeps_the_parent() -> None:
    # points improved only through a time that is not distinguishable from the parent's
    kept, why = decide("better", seen(parent=1.0, candidate=0.99, tied=1.0, ratio=Ratio(0.98, 0.95, 1.02)))
    assert not kept
    assert why.startswith("not better; score_val 1.000 -> 1.000 beside its parent (may be noise: ")
    assert why.endswith("time x0.950 to x1.020 of its parent's: a tie, so no gain in time counts")


def test_a_time_tie_with_better_f1_is_kept() -> None:
    evidence = seen(parent=1.0, candidate=0.92, tied=0.90, ratio=Ratio(1.01, 0.95, 1.02))
    kept, why = decide("better", evidence)
    assert kept
    assert why.endswith("of its parent's: a tie")  # measured a little slower: there was no gain to leave out
    assert decide("better", seen(parent=1.0, candidate=0.90, tied=0.92, ratio=Ratio(0.98, 0.95, 1.02)))[0]


def test_a_time_tie_must_also_show_in_the_score() -> None:
    assert not decide("better", seen(parent=1.0, candidate=1.01, tied=0.99, ratio=Ratio(1.02, 0.99, 1.05)))[0]


def test_within_and_always() -> None:
    evidence = seen(parent=1.0, candidate=1.015, tied=1.01, ratio=Ratio(1.015, 1.01, 1.02))
    assert decide(Within(within=0.02), evidence)[0]
    kept, why = decide(Within(within=0.01), evidence)
    assert not kept
    assert why.startswith("beyond 0.01 points")
    assert decide("always", evidence)[0]


def test_what_is_kept_by_the_measured_score_alone_says_how_sure_that_is() -> None:
    unsure = seen(1.0, 0.99, 0.98, Ratio(1.02, 1.01, 1.03), noise=0.05)
    kept, why = decide("better", unsure)
    assert kept
    assert why.startswith(
        "better as measured (not for sure: in 58% of the resamples of val and the clock), which is all this "
        "gate asks; score_val 1.000 -> 0.990 beside its parent (may be noise: "
    )
    kept, why = decide(Within(within=0.02), unsure)
    assert kept
    assert why.startswith("within 0.02 points as measured (not for sure: in 73% of the resamples")
    kept, why = decide(Within(within=0.2), unsure)
    assert kept
    assert why.startswith("within 0.2 points; score_val")  # noise reaches not that far


def test_a_confidence_asks_for_more_than_a_better_figure() -> None:
    likely = seen(1.0, 0.95, 0.95, Ratio(0.9, 0.89, 0.91), noise=0.05)  # better in 84 % of the resamples
    assert decide("better", likely)[0]
    assert decide(Within(confidence=0.8), likely)[0]
    kept, why = decide(Within(confidence=0.9), likely)
    assert not kept
    assert why.startswith("better in 84.1% of the resamples, not the 90% asked for")


def test_a_confidence_with_a_margin_is_non_inferiority() -> None:
    slightly_worse = seen(1.0, 1.01, 1.01, Ratio(1.1, 1.09, 1.11), noise=0.005)
    assert not decide(Within(confidence=0.9), slightly_worse)[0]
    assert decide(Within(within=0.02, confidence=0.9), slightly_worse)[0]
    assert not decide(Within(within=0.012, confidence=0.9), slightly_worse)[0]


def test_a_candidate_equal_in_every_resample_is_not_better_for_sure() -> None:
    same = Evidence(1.0, 1.0, 1.0, Ratio(1.0, 0.99, 1.01), [0.0] * 100)
    assert not decide(Within(confidence=0.6), same)[0]
    assert decide(Within(within=0.0, confidence=0.6), same)[0]


@pytest.mark.parametrize("wrong", [{}, {"within": -1}, {"confidence": 0.5}, {"confidence": 1.0}])
def test_a_gate_that_says_nothing_possible_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Within.model_validate(wrong)
