"""What samplers learn from a study with limits and rungs."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
import pytest
from optuna.trial import TrialState

from search.learned import shown
from search.records import BASE, RUNGS
from search.samplers import Tpe
from search.spec import DIRECTIONS

F1 = {"good": 0.7, "bad": 0.4, "worse": 0.3, "worst": 0.2}
KNOBS = [*F1]
LAST = 10_000  # the number of a trial that is yet to come

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # metric names


def begun(objectives: Sequence[str] = ("f1", "ms")) -> optuna.Study:
    study = optuna.create_study(directions=[DIRECTIONS[name] for name in objectives])
    study.set_metric_names(list(objectives))
    study.set_user_attr(BASE, {"f1": 0.5, "ms": 1.0})
    return study


def ended(study: optuna.Study, knob: str, ms: float, outcome: str) -> int:
    """One that ended so, as the ledger tells it, and its number; one that was stopped had half of its F1."""
    study.enqueue_trial({"knob": knob, "ms": ms})
    trial = study.ask()
    trial.suggest_categorical("knob", KNOBS)
    trial.suggest_float("ms", 0, 2)
    found = {"f1": F1[knob], "ms": ms, "score": ms - F1[knob]}
    if outcome in ("stopped", "evaluated"):
        trial.set_user_attr(RUNGS, {8: {**found, "f1": F1[knob] / 2}})
    if outcome in ("infeasible", "evaluated"):
        trial.set_constraint("ms", ms - 1)
    for name, value in found.items() if outcome == "evaluated" else ():
        trial.set_user_attr(name, value)
    trial.set_user_attr("outcome", outcome)
    if outcome == "evaluated":
        study.tell(trial, [found[name] for name in study.metric_names or ()])
    else:
        unseen = outcome in ("outranked", "failed")
        study.tell(trial, state=TrialState.FAIL if unseen else TrialState.PRUNED)
    return trial.number


def test_all_that_was_trained_is_ranked_and_the_rest_is_nothing_to_come_back_to() -> None:
    study = begun()
    outcomes = [
        ("worst", 0.5, "stopped"),
        ("good", 0.6, "evaluated"),
        ("bad", 1.5, "infeasible"),
        ("good", 0.7, "stopped"),
        ("bad", 0.4, "outranked"),
        ("good", 1.2, "evaluated"),  # beyond the limits, as measured
        ("bad", 0.3, "failed"),
    ]
    for knob, ms, outcome in outcomes:
        ended(study, knob, ms, outcome)
    working = study.ask()
    seen = shown(study, working.number).get_trials(deepcopy=False)
    assert [(trial.params["ms"], trial.value) for trial in seen] == [
        (0.5, 2.0),  # though nothing is faster
        (0.6, 0.0),
        (1.5, None),
        (0.7, 1.0),
        (1.2, None),
        (0.3, None),
    ]
    assert {trial.state for trial in seen if trial.value is None} == {TrialState.RUNNING}


def test_the_study_itself_is_seen_where_there_is_nothing_to_add() -> None:
    study = begun()
    assert shown(study, LAST) is study
    ended(study, "good", 1.5, "infeasible")
    assert shown(study, LAST) is study
    trained = begun()
    ended(trained, "good", 0.5, "evaluated")
    assert shown(trained, LAST) is trained
    ended(trained, "bad", 0.5, "stopped")
    assert shown(trained, LAST) is not trained


def drawn(sampler: optuna.samplers.BaseSampler, study: optuna.Study) -> str:
    study.sampler = sampler
    trial = study.ask()
    trial.suggest_float("ms", 0, 2)
    knob: str = trial.suggest_categorical("knob", KNOBS)
    trial.set_user_attr("outcome", "outranked")
    study.tell(trial, state=TrialState.FAIL)
    return knob


@pytest.mark.parametrize("objectives", [("f1", "ms"), ("f1",), ("score",)])
def test_what_is_good_is_learnt_behind_limits_and_rungs(objectives: tuple[str, ...]) -> None:
    """As in a search: most are beyond the limits, most of the others are stopped early, few are trained."""
    study = begun(objectives)
    for i in range(40):
        ended(study, KNOBS[i % 4], 1 + i / 50, "infeasible")
    for i in range(12):
        ended(study, KNOBS[3 - i % 4], 0.1 + i / 20, "stopped")
    ended(study, "worst", 0.05, "evaluated")  # nothing is faster
    ended(study, "worse", 0.3, "evaluated")
    ended(study, "good", 0.5, "evaluated")
    ours = [drawn(Tpe(startup=2).make(seed), study) for seed in range(20)]
    alone = [drawn(optuna.samplers.TPESampler(seed=seed), study) for seed in range(20)]
    assert ours.count("good") >= 15
    assert alone.count("good") < 10  # Optuna's own takes all the trained ones for good
