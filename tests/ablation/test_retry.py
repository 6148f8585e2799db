"""A gated stage is tried weaker before it is dropped, and its step tells of every try."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import planted
import pytest
from planted import Blind, Declines, small_net

from compress import Within, run
from compress.errors import InputError
from compress.net import Net
from compress.stages.base import Context, Plan, Stage
from compress.step import Step
from compress.store import Store

pytestmark = pytest.mark.usefixtures("in_a_hurry")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retry") / "store"


def steps(store: Path, *stages: Stage, gate: Any = "better") -> list[Step]:
    gated = planted.recipe(*stages).model_copy(update={"gate": gate})
    return list(run(gated, model=small_net(), store=Store(store), log=planted.quiet))


def test_the_first_strength_that_the_gate_keeps_is_taken(store: Path) -> None:
    gate = Within(within=0.1)
    base, blind = steps(store, Blind(share=0.875, retry=(0.5, 0.03125, 0.0)), gate=gate)
    assert blind.kept
    assert [(a["value"], a["kept"]) for a in blind.extra["attempts"]] == [
        (0.875, False),
        (0.5, False),
        (0.03125, True),  # the weakest was not needed
    ]
    assert blind.why.startswith("at share 0.03125, try 3 of 3: within 0.1 points")
    assert blind.to_dict()["attempts"] == blind.extra["attempts"]
    assert [line.split(":")[0] for line in blind.notes] == ["share 0.875", "share 0.5", "share 0.03125"]
    alone = steps(store, Blind(share=0.03125), gate=gate)[1]
    assert alone.key == blind.key  # a try is the stage at that strength, wherever else it is asked for
    assert alone.cached
    assert base.key != blind.key


def test_a_stage_that_no_strength_saves_is_dropped_and_shown_at_its_best(store: Path) -> None:
    base, blind, after = steps(store, Blind(share=0.875, retry=(0.5,)), Blind(share=0.5, gate="always"))
    assert not blind.kept
    scores = [a["score_val"] for a in blind.extra["attempts"]]
    assert blind.score is not None
    assert blind.score.points_val == min(scores)
    assert blind.why.startswith("at share 0.5, try 2 of 2: not better")
    assert "more than noise" in blind.why
    alone = steps(store, Blind(share=0.5, gate="always"))[1]
    assert after.key == alone.key  # the chain went on from the baseline
    assert base.kept


def test_a_confidence_drops_what_only_looks_better(store: Path) -> None:
    kept = steps(store, Blind(share=0.5), gate=Within(within=0.9, confidence=0.9))[1]
    assert kept.kept
    assert kept.why.startswith("within 0.9 points in 100.0% of the resamples")
    dropped = steps(store, Blind(share=0.5), gate=Within(confidence=0.9))[1]
    assert not dropped.kept
    assert dropped.why.startswith("better in 0.0% of the resamples, not the 90% asked for")


class Bounded(Blind):
    """A share above a half is more than this net has."""

    kind: Literal["bounded"] = "bounded"  # type: ignore[assignment]

    def plan(self, net: Net, ctx: Context) -> Plan:
        if self.share > 0.5:
            raise InputError(f"share {self.share} is out of reach")
        return super().plan(net, ctx)


def test_a_strength_out_of_reach_leads_to_the_weaker_ones(store: Path) -> None:
    step = steps(store, Bounded(share=0.875, retry=(0.75, 0.03125)), gate=Within(within=0.1))[1]
    assert step.kept
    assert step.why.startswith("at share 0.03125, try 3 of 3: within 0.1 points")
    assert step.extra["attempts"][0] == {
        "value": 0.875,
        "kept": False,
        "why": "not tried: share 0.875 is out of reach",
        "score_val": None,
    }
    assert step.notes[-2] == "share 0.75: not tried: share 0.75 is out of reach"


def test_a_weakest_strength_out_of_reach_is_an_error(store: Path) -> None:
    with pytest.raises(InputError, match=r"share 0\.75 is out of reach"):
        steps(store, Bounded(share=0.875, retry=(0.75,)))


class Shy(Declines):
    strength = "share"
    share: float = 0.5


def test_a_stage_that_declines_is_not_tried_again(store: Path) -> None:
    shy = steps(store, Shy(retry=(0.2,)))[1]
    assert shy.why == "at share 0.5, try 1 of 1: skipped: nothing to do"
    assert shy.extra["attempts"] == [
        {"value": 0.5, "kept": False, "why": "skipped: nothing to do", "score_val": None}
    ]
