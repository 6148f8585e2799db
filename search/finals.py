"""The end of a study with ``one_shot``: its best candidates, fine-tuned and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from compress.errors import CompressError, os_error
from search.candidate import Candidate
from search.choose import choices
from search.records import BASE, MEASURED, TIME_MS, Record, front
from search.spec import DIRECTIONS, StudySpec

if TYPE_CHECKING:
    import optuna

    from compress.net import Net

_FINALS = "finals"  # the study's attribute: what finalists measured, by number


@runtime_checkable
class Finishing(Protocol):
    """An objective whose evaluations only rank."""

    def finish(self, candidate: Candidate) -> dict[str, float]:
        """``records.MEASURED`` of the candidate by itself."""

    def finished(self, candidate: Candidate) -> Net:
        """The net that was measured."""


def records_of(study: optuna.Study) -> list[Record]:
    """All trials as they are now; finalists as measured by themselves."""
    finals = study.user_attrs.get(_FINALS, {})
    records = [Record.of_trial(trial) for trial in study.get_trials(deepcopy=False)]
    return [_finished(record, finals.get(str(record.number))) for record in records]


def finish(
    spec: StudySpec, study: optuna.Study, objective: Finishing, folder: Path, log: Callable[[str], None]
) -> None:
    """Fine-tune the finalists that are not yet, and leave the best as ``folder/best-score.pt``.

    Their limits are looked at again: their times are measured, those before may have been predicted. One that
    fails is left out, and tried again by the next call.
    """
    from compress.models.checkpoint import save_net

    ranked = [Record.of_trial(trial) for trial in study.get_trials(deepcopy=False)]
    finals, file = dict(study.user_attrs.get(_FINALS, {})), folder / "best-score.pt"
    bounds = spec.limits.bounds(lambda: study.user_attrs[BASE]["ms"]) if spec.limits else {}
    for record in finalists(spec, ranked):
        if str(record.number) in finals or record.candidate is None:
            continue
        try:
            found = objective.finish(record.candidate)
        except (CompressError, RuntimeError) as error:  # RuntimeError: torch's, as when memory runs out
            if os_error(error) is not None:
                raise  # a full disk is not the finalist's fault
            log(f"finalist {record.number}: failed: {error}")
            continue
        feasible = all(found[name] <= bound for name, bound in bounds.items())
        finals[str(record.number)] = {**found, "feasible": feasible}
        file.unlink(missing_ok=True)  # of fewer finalists: a Ctrl-C must not leave it beside another's best-*
        study.set_user_attr(_FINALS, finals)
        shared = f"{record.measured['f1']:.3f} with shared weights"
        beyond = "" if feasible else ", beyond the limits"
        log(f"finalist {record.number}: F1 val {found['f1']:.3f} ({shared}), {found['ms']:.3f} ms{beyond}")
    best = choices(spec, records_of(study)).get("score")
    if best is not None and best.candidate is not None and best.shared:
        save_net(objective.finished(best.candidate), file)
    else:  # no finalist is there, or within the limits
        file.unlink(missing_ok=True)


def finalists(spec: StudySpec, records: Sequence[Record]) -> list[Record]:
    """Whom to fine-tune: the best by each rule, then others of the front, by score."""
    names: dict[str, str] = {name: DIRECTIONS[name] for name in spec.objectives}
    others = sorted(front(records, names), key=lambda record: record.measured["score"])
    chosen = {record.number: record for record in [*choices(spec, records).values(), *others]}
    assert spec.one_shot is not None
    return list(chosen.values())[: spec.one_shot.finalists]


def _finished(record: Record, found: dict[str, float] | None) -> Record:
    if found is None:
        return record
    measured = {name: found[name] for name in (*MEASURED, TIME_MS) if name in found}
    return replace(record, measured=measured, shared=record.measured, feasible=bool(found["feasible"]))
