"""Trials that a genetic sampler did not draw, in its population all the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState


class ByChance(BaseSampler):
    """Draws by ``dice``, while ``genetic`` counts the trial in its generation.

    Optuna notes a trial's generation when parameters are drawn together, and takes only those with such a
    note as parents.
    """

    def __init__(self, genetic: BaseSampler, dice: BaseSampler) -> None:
        self._genetic, self._dice = genetic, dice

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._genetic.before_trial(study, trial)
        self._dice.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._genetic.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._genetic.sample_relative(study, trial, search_space)
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._dice.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._genetic.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._genetic.reseed_rng()
        self._dice.reseed_rng()
