"""The end of a study with ``one_shot``: its best candidates, fine-tuned and measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from compress.errors import CompressError
from search.candidate import Candidate
from search.choose import choices
from search.protocol import asked, blameless
from search.records import BASE, MEASURED, TIME_MS, Record, comparable, front
from search.spec import DIRECTIONS, StudySpec

if TYPE_CHECKING:
    import optuna

    from compress.net import Net

_FINALS = "finals"  # the study's attribute: what finalists measured, by number
_FILE = "file"  # of the best one there: its file's digest; another folder may hold that of an earlier best


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
    spec: StudySpec,
    study: optuna.Study,
    objective: Finishing,
    folder: Path,
    log: Callable[[str], None],
    note: Callable[[str], None] = print,
) -> None:
    """Fine-tune the best candidates until there are as many finalists as the study asks for, and leave the
    best as ``folder/best-score.pt``. Where that is there it stays: made anew after an upgrade of a package or
    of this program, it would be another net than was measured.

    Their limits are looked at again: their times are measured, those before may have been predicted. One that
    is beyond them makes room for the next. One that fails keeps its place, for the next call to try it again.
    ``note`` gets the traceback of what is not ours.
    """
    from compress.models.checkpoint import save_net

    assert spec.one_shot is not None
    candidates = [Record.of_trial(trial) for trial in study.get_trials(deepcopy=False)]
    finals, file = dict(study.user_attrs.get(_FINALS, {})), folder / "best-score.pt"
    bounds = spec.limits.bounds(lambda: study.user_attrs[BASE]["ms"]) if spec.limits else {}
    places = spec.one_shot.finalists
    for record in ranked(spec, candidates):
        if not places:
            break
        key = str(record.number)
        if key not in finals and (found := _measured(objective, record, log, note)) is not None:
            feasible = all(found[name] <= bound for name, bound in bounds.items())
            finals[key] = {**found, "feasible": feasible, _FILE: ""}  # none yet
            file.unlink(missing_ok=True)  # a Ctrl-C must not leave it beside another's best-*
            study.set_user_attr(_FINALS, finals)
            log(_line(record, found, feasible))
        places -= key not in finals or finals[key]["feasible"]
    best = choices(spec, records_of(study)).get("score")
    if best is not None and best.candidate is not None and best.shared:
        finals = dict(study.user_attrs[_FINALS])
        own = finals[str(best.number)]
        if not _holds(file, own.get(_FILE)):
            save_net(objective.finished(best.candidate), file)
            own[_FILE] = _digest(file)
            study.set_user_attr(_FINALS, finals)
        return
    file.unlink(missing_ok=True)
    if best is not None:
        log("no finalist could be fine-tuned: which nets are best is by their shared weights alone")


def ranked(spec: StudySpec, records: Sequence[Record]) -> list[Record]:
    """In which order to fine-tune: the best by each rule, then the rest of the front, then all others."""

    def by_score(some: Sequence[Record]) -> list[Record]:
        return sorted(some, key=lambda record: (record.measured["score"], record.number))

    names: dict[str, str] = {name: DIRECTIONS[name] for name in spec.objectives}
    rest = [*by_score(front(records, names)), *by_score(comparable(records))]
    return list({record.number: record for record in [*choices(spec, records).values(), *rest]}.values())


def _measured(
    objective: Finishing, record: Record, log: Callable[[str], None], note: Callable[[str], None]
) -> dict[str, float] | None:
    """The fine-tuned candidate's; None where that fails."""
    assert record.candidate is not None  # it was evaluated
    try:
        return asked(objective.finish, record.candidate, log=note)
    except CompressError as error:
        if blameless(error):
            raise
        log(f"finalist {record.number}: failed: {error}")
        return None


def _holds(file: Path, noted: str | None) -> bool:
    """Whether the file is there, and the one that was noted; earlier versions noted none."""
    return file.exists() and noted in (None, _digest(file))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:20]


def _line(record: Record, found: dict[str, float], feasible: bool) -> str:
    shared = f"{record.measured['f1']:.3f} with shared weights"
    beyond = "" if feasible else ", beyond the limits"
    return f"finalist {record.number}: F1 val {found['f1']:.3f} ({shared}), {found['ms']:.3f} ms{beyond}"


def _finished(record: Record, found: dict[str, float] | None) -> Record:
    if found is None:
        return record
    measured = {name: found[name] for name in (*MEASURED, TIME_MS) if name in found}
    return replace(record, measured=measured, shared=record.measured, feasible=bool(found["feasible"]))
