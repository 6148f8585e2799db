"""What becomes of trials, written to the study: outcomes, limits, and that an equal one was there before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from search.claims import Claims
from search.records import BASE, COUNTED, Outcome, Record, ended
from search.spec import StudySpec

if TYPE_CHECKING:
    import optuna
    from optuna import Trial

EVALUATED: tuple[Outcome, ...] = ("evaluated",)
TWINS: tuple[Outcome, ...] = (*COUNTED, "infeasible")  # what an equal candidate need not be tried for again


@dataclass
class Ledger:
    """All that was told to a study; entries are made inside the claims' gate."""

    spec: StudySpec
    study: optuna.Study
    claims: Claims
    log: Callable[[str], None]

    def records(self) -> list[Record]:
        """All trials as they are now."""
        return [Record.of_trial(trial) for trial in self.study.get_trials(deepcopy=False)]

    @cached_property
    def bounds(self) -> dict[str, float]:
        """The study's limits."""
        limits = self.spec.limits
        return limits.bounds(lambda: self.study.user_attrs[BASE]["ms"]) if limits else {}

    def beyond(self, costs: Mapping[str, float]) -> list[str]:
        """The limits that are broken, in words."""
        bounds = self.bounds.items()
        return [f"{n} {short(costs[n])} > {short(b)}" for n, b in bounds if costs.get(n, 0) > b]

    def tell(self, trial: Trial, outcome: Outcome, values: Mapping[str, Any] | None = None) -> None:
        """End a trial.

        A sampler learns each measurement once: candidates that a proxy left out, and duplicates, end as
        failed, which it does not look at. What was measured in part, or is beyond a limit, ends as pruned,
        which TPE alone learns from.
        """
        from optuna.trial import TrialState

        found = dict(values or {})
        for name, value in found.items():
            trial.set_user_attr(name, value)
        for name, bound in self.bounds.items():
            if name in found:
                trial.set_constraint(name, found[name] / bound - 1)
        trial.set_user_attr("outcome", outcome)
        if outcome == "evaluated":
            self.study.tell(trial, [float(found[name]) for name in self.spec.objectives])
        else:
            pruned = outcome in ("stopped", "infeasible")
            self.study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)
        self.claims.drop(trial.number)

    def as_its_twin(self, trial: Trial, key: str, outcomes: Sequence[Outcome] = TWINS) -> bool:
        """Tell what an equal candidate came to, if one came to any of these; its values become attributes."""
        trials = self.study.get_trials(deepcopy=False)
        twin = next((t for t in trials if t.user_attrs.get("key") == key and ended(t) in outcomes), None)
        if twin is None:
            return False
        known = Record.of_trial(twin)
        trial.set_user_attr("twin", known.number)
        self.tell(trial, "duplicate", known.measured)
        self.log(f"trial {trial.number}: the same as trial {known.number}, which was {known.outcome}")
        return True


def line(values: Mapping[str, Any]) -> str:
    return (
        f"F1 val {values['f1']:.3f}, {values['ms']:.3f} ms, {short(values['params'])} parameters, "
        f"{short(values['macs'])} MACs, score {values['score']:.3f}"
    )


def short(value: float) -> str:
    from compress.report.tables import count

    return count(round(value)) if value >= 1000 else f"{value:.4g}"
