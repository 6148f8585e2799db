"""Random trials first, counted as a person would: those that were trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

_TRAINED = ("evaluated", "stopped")
_TIGHT = 10  # so many beyond the limits for each one to train: where these lie is worth learning, too


class AfterStartup(BaseSampler):
    """``sampler``, once ``startup`` trials of a study were trained; before that, dice.

    Optuna's own samplers also count each trial that ended before its training as it was beyond a limit, and
    so may begin before anything was trained. Where limits are tight ten times as many of these will do.
    """

    def __init__(self, sampler: BaseSampler, startup: int, seed: int) -> None:
        self._learning, self._startup = sampler, startup
        self._random = RandomSampler(seed=seed)
        self._current: BaseSampler = sampler

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        told = Counter(one.user_attrs.get("outcome") for one in study.get_trials(deepcopy=False))
        enough = sum(told[outcome] for outcome in _TRAINED) >= self._startup
        tight = told["infeasible"] >= _TIGHT * self._startup
        self._current = self._learning if enough or tight else self._random
        self._current.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._current.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._current.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._current.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._learning.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._learning.reseed_rng()
        self._random.reseed_rng()
