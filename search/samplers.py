"""What proposes the next candidate: Optuna's samplers, as a study's file names them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from compress.spec import Spec

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

_STARTUP = (
    "Random candidates to train before it learns from them; ten times as many beyond the limits will also do."
)
_SAME = 5  # so many duplicates in a row: dice are thrown for a new one
_DRAWN = 50  # nets, to find the parameters that all have


class Sampler(Spec, ABC):
    """Subclasses declare ``kind: Literal["..."] = "..."``."""

    kind: str
    common: ClassVar[bool] = False  # whether it learns those parameters only that every trial has
    genetic: ClassVar[bool] = False  # whether it learns from those trials only that are of a generation

    @abstractmethod
    def make(self, seed: int) -> BaseSampler:
        """A fresh sampler; what it has learnt lies in the study's trials."""


class Tpe(Sampler):
    """Tree-structured Parzen estimators (Bergstra et al. 2011), for several objectives MOTPE (Ozaki 2020).

    Behind limits and rungs they learn from all that was trained, see ``learned.FromAllTrained``.
    """

    kind: Literal["tpe"] = "tpe"
    startup: int = Field(10, ge=1, description=_STARTUP)

    def make(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        from search.learned import FromAllTrained
        from search.startup import AfterStartup

        learning = FromAllTrained(TPESampler(seed=seed, n_startup_trials=1))
        return AfterStartup(learning, self.startup, seed)


class Nsga2(Sampler):
    """A genetic algorithm, for two or three objectives (Deb et al. 2002).

    It learns from evaluated trials alone, and the parameters that all of these have. Those of blocks that a
    slot may or may not hold are drawn at random: a space with many such choices is better searched by
    ``tpe``.
    """

    kind: Literal["nsga2"] = "nsga2"
    common: ClassVar[bool] = True
    genetic: ClassVar[bool] = True
    population: int = Field(12, ge=2, description="Trials of a generation; the first is random.")

    def make(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self.population)


class Nsga3(Sampler):
    """The same for more objectives (Deb and Jain 2014); it learns as little of blocks that are chosen, and
    nothing of what is refused for its limits."""

    kind: Literal["nsga3"] = "nsga3"
    common: ClassVar[bool] = True
    genetic: ClassVar[bool] = True
    population: int = Field(12, ge=2, description="Trials of a generation; the first is random.")

    def make(self, seed: int) -> BaseSampler:
        return _quiet("NSGAIIISampler", seed=seed, population_size=self.population)


class Gp(Sampler):
    """Gaussian processes, for small spaces and costly trials; what not every trial has is drawn at random.

    They learn from evaluated trials alone, also where limits lie.
    """

    kind: Literal["gp"] = "gp"
    common: ClassVar[bool] = True
    startup: int = Field(10, ge=1, description=f"{_STARTUP[:-1]}, though these teach it nothing.")

    def make(self, seed: int) -> BaseSampler:
        from search.startup import AfterStartup

        made = _quiet("GPSampler", seed=seed, n_startup_trials=1, warn_independent_sampling=False)
        return AfterStartup(made, self.startup, seed)


class Random(Sampler):
    """No memory: what the others must beat."""

    kind: Literal["random"] = "random"

    def make(self, seed: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)


SamplerSpec = Annotated[Tpe | Nsga2 | Nsga3 | Gp | Random, Field(discriminator="kind")]


def left_to_chance(sampler: Sampler, sample: Callable[[Trial], Any]) -> str | None:
    """Which part of a space a sampler will learn from, in a line; None where that is all of it, or nothing.

    Args:
        sample: asks a trial for all parameters of a candidate.
    """
    if not sampler.common:
        return None
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(_DRAWN):
        trial = study.ask()
        sample(trial)
        study.tell(trial, 0.0)
    learned = optuna.search_space.intersection_search_space(study.trials)
    others = set[str]().union(*(trial.params for trial in study.trials)) - learned.keys()
    if not others:
        return None
    return (
        f"sampler {sampler.kind} learns from {len(learned)} parameters, which every candidate has; the other "
        f"{len(others)} (as {_DRAWN} random candidates have them) are drawn at random: tpe learns from all"
    )


def blind_to_rungs(sampler: Sampler) -> str | None:
    """That a sampler learns from full trainings alone, in a line; of ``tpe`` see ``FromAllTrained``."""
    if not sampler.common:
        return None
    return (
        f"sampler {sampler.kind} learns from full trainings only: what fidelity stops, and with it most of "
        "what is trained, teaches it nothing; tpe learns from all"
    )


def blind_to_limits(sampler: Sampler) -> str | None:
    """That a sampler learns of limits from what was evaluated alone, in a line: candidates that are refused
    end as pruned, and of those Optuna's own samplers but TPE read nothing, their constraints neither."""
    if not sampler.common:
        return None
    return (
        f"sampler {sampler.kind} learns of limits from evaluated candidates only: what is refused before its "
        "training teaches it nothing, and it may ask for the like again; tpe learns from all"
    )


def _quiet(name: str, **arguments: Any) -> BaseSampler:
    """Made without Optuna's note that a sampler is experimental, which would come before every trial."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made: BaseSampler = getattr(optuna.samplers, name)(**arguments)
    return made


def sampler_of(sampler: Sampler, trials: Sequence[FrozenTrial], seed: int) -> BaseSampler:
    """What draws the next trial: the sampler, or dice where it is stuck."""
    if not stuck(trials):
        return sampler.make(seed)
    if not sampler.genetic:
        return Random().make(seed)
    from search.generations import ByChance

    return ByChance(sampler.make(seed), seed)


def take_in(sampler: Sampler, trial: Trial) -> None:
    """Count a trial whose parameters are known, as when it is run again, in its generation: where none is
    drawn Optuna does not, and would never take it as a parent."""
    if sampler.genetic:
        _ = trial.relative_params


def stuck(trials: Sequence[FrozenTrial]) -> bool:
    """Whether the sampler asks for what there was: it does not learn from duplicates, and may never stop."""
    from search.records import ended

    outcomes = (ended(trial) for trial in reversed(trials))  # None of those that are in work elsewhere
    last = list(islice((outcome for outcome in outcomes if outcome is not None), _SAME))
    return last == ["duplicate"] * _SAME


def seed_of(seed: int, number: int) -> int:
    """Apart for each trial of each study."""
    from compress.spec import digest

    return int(digest("sampler", seed, number)[:8], 16) & 0x7FFFFFFF
