"""What proposes the next candidate: Optuna's samplers, as a study's file names them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from compress.spec import Spec

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Sampler(Spec, ABC):
    """Subclasses declare ``kind: Literal["..."] = "..."``."""

    kind: str

    @abstractmethod
    def make(self, seed: int) -> BaseSampler:
        """A fresh sampler; what it has learnt lies in the study's trials."""


class Tpe(Sampler):
    """Tree-structured Parzen estimators (Bergstra et al. 2011), for several objectives MOTPE (Ozaki 2020)."""

    kind: Literal["tpe"] = "tpe"
    startup: int = Field(10, ge=1, description="Random trials before it learns from them.")

    def make(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, n_startup_trials=self.startup)


class Nsga2(Sampler):
    """A genetic algorithm, for two or three objectives (Deb et al. 2002)."""

    kind: Literal["nsga2"] = "nsga2"
    population: int = Field(12, ge=2, description="Trials of a generation; the first is random.")

    def make(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self.population)


class Nsga3(Sampler):
    """The same for more objectives (Deb and Jain 2014)."""

    kind: Literal["nsga3"] = "nsga3"
    population: int = Field(12, ge=2, description="Trials of a generation; the first is random.")

    def make(self, seed: int) -> BaseSampler:
        return _quiet("NSGAIIISampler", seed=seed, population_size=self.population)


class Gp(Sampler):
    """Gaussian processes, for small spaces and costly trials; what not every trial has is drawn at random."""

    kind: Literal["gp"] = "gp"
    startup: int = Field(10, ge=1, description="Random trials before it learns from them.")

    def make(self, seed: int) -> BaseSampler:
        return _quiet("GPSampler", seed=seed, n_startup_trials=self.startup, warn_independent_sampling=False)


class Random(Sampler):
    """No memory: what the others must beat."""

    kind: Literal["random"] = "random"

    def make(self, seed: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)


SamplerSpec = Annotated[Tpe | Nsga2 | Nsga3 | Gp | Random, Field(discriminator="kind")]


def _quiet(name: str, **arguments: Any) -> BaseSampler:
    """Made without Optuna's note that a sampler is experimental, which would come before every trial."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made: BaseSampler = getattr(optuna.samplers, name)(**arguments)
    return made
