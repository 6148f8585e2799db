"""Trials that a genetic sampler did not draw, in its population all the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState


class ByChance(RandomSampler):
    """Draws by chance, while ``genetic`` counts the trial in its generation.

    Optuna notes a trial's generation when parameters are drawn together, and takes only those with such a
    note as parents.
    """

    def __init__(self, genetic: BaseSampler, seed: int) -> None:
        super().__init__(seed=seed)
        self._genetic = genetic

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._genetic.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._genetic.sample_relative(study, trial, search_space)
        return {}

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._genetic.after_trial(study, trial, state, values)
