"""What a sampler learns from in a study with limits or rungs: all that was trained, however far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.records import BASE, Record
from search.worth import best_first

_OTHERS = 500  # of the trials that were not trained, the latest: each takes half a millisecond to show


class FromAllTrained(BaseSampler):
    """``sampler``, which behind limits and rungs sees a study of all that was trained, best first.

    By itself Optuna's TPE takes the best tenth of all trials for good ones: of those beyond the limits too,
    which soon are the most. So whatever was trained would be good, and only the limits would be learnt; and
    of several objectives it ranks what was stopped at a rung behind all that was not, in no order.
    Here the tenth is of what was trained; a candidate that was stopped counts as what it had become, which is
    less than it might have; and what is beyond the limits, or failed, counts as trials do that are at work
    elsewhere: as nothing to come back to. Parameters are then drawn one by one, as for several objectives.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler
        self._shown: optuna.Study | None = None

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._shown = None
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial) if _plain(study) else {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if self._shown is None:  # once for all that this one draws
            self._shown = shown(study, trial.number)
        return self._sampler.sample_independent(self._shown, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()


def shown(study: optuna.Study, number: int) -> optuna.Study:
    """In memory, what there is to learn for the trial of that number: to be minimised is its place among the
    trained ones, see ``worth.best_first``.

    The study itself where all its trials were trained fully and are within its limits, or none was trained.
    Its metric names are its objectives.
    """
    names, base = study.metric_names, study.user_attrs.get(BASE)
    if names is None or base is None or _plain(study):
        return study
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    there = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.number != number and (trial.state in states or _failed(trial))
    ]
    ended = [trial for trial in there if trial.state.is_finished()]
    reached = {trial.number: found for trial in ended if (found := _reached(Record.of_trial(trial)))}
    if not reached:
        return study
    latest = [trial.number for trial in there if trial.number not in reached][-_OTHERS:]
    numbers = list(reached)
    ordered = best_first(list(reached.values()), names, base)
    places: dict[int, int | None] = dict.fromkeys(latest)
    places |= {numbers[i]: place for place, i in enumerate(ordered)}
    seen = optuna.create_study()
    for trial in there:
        if trial.number in places:
            place = places[trial.number]
            as_seen = create_trial(
                state=TrialState.RUNNING if place is None else TrialState.COMPLETE,
                value=place,
                params=trial.params,
                distributions=trial.distributions,
            )
            seen.add_trial(as_seen)
    return seen


def _plain(study: optuna.Study) -> bool:
    """Whether Optuna's own sampler has all it needs: no trial was stopped, failed or is beyond a limit."""
    return not any(
        trial.state == TrialState.PRUNED or _failed(trial) or any(c > 0 for c in trial.constraints.values())
        for trial in study.get_trials(deepcopy=False)
    )


def _failed(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get("outcome") == "failed"


def _reached(record: Record) -> dict[str, float] | None:
    """At the end of its training, or else at the last rung; None of what was not, or is no solution."""
    if record.outcome == "stopped" and record.rungs:
        return record.rungs[max(record.rungs)]
    return record.measured if record.outcome == "evaluated" and record.feasible else None
