"""Scores: one number from F1 and time or multiply-accumulates. Lower is better."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from compress.errors import CompressError
from compress.spec import Spec

Self = TypeVar("Self", bound="Metric")


class Require(Spec):
    """Constraints on the final model; the report says which are met; ``run`` exits with 1 if one is not."""

    f1: float | None = Field(None, ge=0, le=1, description="Macro F1, at least.")
    time_ms: float | None = Field(
        None, gt=0, description="Median time of one image in milliseconds, at most; see metric.time."
    )
    macs: float | None = Field(None, gt=0, description="Multiply-accumulates of one image, at most.")

    @model_validator(mode="after")
    def _says_something(self) -> Require:
        if self.f1 is None and self.time_ms is None and self.macs is None:
            raise ValueError("needs at least one of f1, time_ms, macs")
        return self


@dataclass(frozen=True)
class Met:
    """One constraint: whether it is met, and a line for the report."""

    ok: bool
    line: str


class Metric(Spec, ABC):
    """What a run minimises. ``points`` ignores keywords it has no use for."""

    kind: str
    require: Require | None = Field(None, description="Constraints the report checks.")
    time: Literal["model", "end_to_end"] = Field(
        "model", description="What is timed: the model alone, or an encoded image to its label."
    )
    baseline: Path | None = Field(
        None,
        description="A run's folder or an artifact's that gives the base values; the recipe's own baseline.",
    )

    def check(self) -> list[str]:
        """One line when ``baseline`` is no exported model."""
        path = self.baseline
        if path is None or any((path / inner / "artifact.json").is_file() for inner in ("", "artifact")):
            return []
        return [
            f"{path}: neither artifact.json nor artifact/artifact.json there: no run's folder, no artifact"
        ]

    @abstractmethod
    def points(self, *, f1: float, **measured: Any) -> float:
        """The score of a model; lower is better.

        Raises:
            CompressError: a base value this metric compares with is not set.
        """

    @abstractmethod
    def with_base(self: Self, *, f1: float, time: float | None = None, macs: float | None = None) -> Self:
        """This metric with the base values left out filled in from a baseline's measurements."""

    def met(self, f1: float, time_ms: float, macs: float | None = None) -> tuple[Met, ...]:
        """One ``Met`` per constraint of ``require``, none without constraints."""
        require = self.require
        if require is None:
            return ()
        out = []
        if require.f1 is not None:
            out.append(_met(f1 >= require.f1, f"F1 {f1:.4f}", f"at least {require.f1:g}"))
        if require.time_ms is not None:
            out.append(
                _met(time_ms <= require.time_ms, f"{time_ms:.3f} ms", f"at most {require.time_ms:g} ms")
            )
        if require.macs is not None:
            ok = macs is not None and macs <= require.macs
            shown = "MACs unknown" if macs is None else f"{macs:,.0f} MACs"
            out.append(_met(ok, shown, f"at most {require.macs:,.0f} MACs"))
        return tuple(out)


class F1Time(Metric):
    """``weight * time / time_base + sigmoid(slope * (f1_base - f1))``.

    A model with the base's F1 and time scores exactly 1.0 with the default weight. The bases are the
    baseline's own, measured in the same run, when left out: constants of one machine mean nothing on another.
    """

    kind: Literal["f1_time"] = "f1_time"
    f1_base: float | None = Field(None, ge=0, le=1, description="Macro F1 to compare with; the baseline's.")
    time_base: float | None = Field(
        None, gt=0, description="Time to compare with, in a recipe in milliseconds an image; the baseline's."
    )
    slope: float = Field(20.0, gt=0, description="Steepness of the F1 term.")
    weight: float = Field(0.5, ge=0, description="Points that the base's time costs.")

    @model_validator(mode="after")
    def _baseline_is_needed(self) -> F1Time:
        _without_effect(self, ("f1_base", "time_base"))
        return self

    def points(self, *, f1: float, time: float | None = None, **ignored: Any) -> float:
        """``time`` in the unit of ``time_base``."""
        f1_base, time_base = _base(self, "f1_base"), _base(self, "time_base")
        if time is None:
            raise CompressError("metric f1_time needs a time: points(f1=..., time=...)")
        return self.weight * time / time_base + _sigmoid(self.slope * (f1_base - f1))

    def with_base(self, *, f1: float, time: float | None = None, macs: float | None = None) -> F1Time:
        return _filled(self, f1_base=f1, time_base=time)


class F1Macs(Metric):
    """``macs / macs_base + g(f1)``: the rule of the MACs cohort, a model without F1 costs a whole point.

    ``g`` is 1 below ``f1_floor``, else ``1 - f1 / f1_base``; from ``f1_base`` on that difference counts
    ``bonus`` times and is negative. Bases set to null are the baseline's own.
    """

    kind: Literal["f1_macs"] = "f1_macs"
    f1_base: float | None = Field(0.8366, gt=0, le=1, description="Macro F1 at which the F1 term is 0.")
    macs_base: float | None = Field(13.88e6, gt=0, description="Multiply-accumulates that cost one point.")
    f1_floor: float = Field(0.5, ge=0, le=1, description="Macro F1 below which the F1 term is 1.")
    bonus: float = Field(0.5, ge=0, description="Weight of F1 above its base.")

    @model_validator(mode="after")
    def _what_is_said_has_an_effect(self) -> F1Macs:
        _without_effect(self, ("f1_base", "macs_base"))
        if self.time != "model" and (self.require is None or self.require.time_ms is None):
            raise ValueError("time has no effect on f1_macs without require.time_ms: leave it out")
        return self

    def points(self, *, f1: float, macs: float | None = None, **ignored: Any) -> float:
        f1_base, macs_base = _base(self, "f1_base"), _base(self, "macs_base")
        if macs is None:
            raise CompressError("metric f1_macs needs multiply-accumulates: points(f1=..., macs=...)")
        short = 1.0 - f1 / f1_base
        term = 1.0 if f1 < self.f1_floor else short if f1 < f1_base else self.bonus * short
        return macs / macs_base + term

    def with_base(self, *, f1: float, time: float | None = None, macs: float | None = None) -> F1Macs:
        return _filled(self, f1_base=f1, macs_base=macs)


MetricSpec = Annotated[F1Time | F1Macs, Field(discriminator="kind")]


def _without_effect(metric: Metric, bases: tuple[str, str]) -> None:
    if metric.baseline is not None and all(getattr(metric, name) is not None for name in bases):
        raise ValueError(
            f"baseline has no effect beside {bases[0]} and {bases[1]}: set one to null, or leave it out"
        )


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _base(metric: Metric, name: str) -> float:
    value: float | None = getattr(metric, name)
    if value is None:
        raise CompressError(
            f"metric {metric.kind} has no {name}: give it one, or fill it in from a baseline with with_base()"
        )
    return value


def _filled(metric: Self, **bases: float | None) -> Self:
    """A copy, validated again, with every base that is None replaced by the given value.

    ``baseline`` has done its part then: the values are those of the model it names.
    """
    missing = {name: value for name, value in bases.items() if getattr(metric, name) is None}
    try:
        return type(metric).model_validate({**metric.model_dump(), **missing, "baseline": None})
    except ValidationError as error:
        raise CompressError(
            f"the baseline's {missing} cannot be the base of {metric.kind}: {error}"
        ) from error


def _met(ok: bool, got: str, wanted: str) -> Met:
    return Met(ok, f"{'met' if ok else 'NOT met'}: {got}, required {wanted}")
