"""Whose fault a failure is: a candidate's, the study's, or the machine's."""

from __future__ import annotations

import errno
from pathlib import Path

import optuna
import pytest
from fast_objective import Fast, Raising, finished, loop, study_spec
from optuna.exceptions import StorageInternalError

from compress.errors import BusyError, CompressError, InputError
from search.candidate import Candidate
from search.records import Record
from search.spec import StudySpec
from search.storage import open_study


def run(spec: StudySpec, folder: Path, objective: Fast) -> list[Record]:
    once = loop(spec, folder, objective)
    once.run()
    return once.ledger.records()


def test_one_failing_candidate_does_not_end_the_study(tmp_path: Path) -> None:
    spec = study_spec(trials=4)
    failing = Raising(spec, tmp_path / "diary")
    failing.fails = lambda call: call == 2
    records = run(spec, tmp_path, failing)
    assert [r.outcome for r in records] == ["evaluated", "failed", "evaluated", "evaluated"]
    assert records[1].error == "the loss became NaN"
    assert records[1].state == "FAIL"


def test_when_all_fail_it_says_so(tmp_path: Path) -> None:
    spec = study_spec(trials=10)
    with pytest.raises(CompressError, match=r"all of the first 3 candidates failed.*NaN"):
        run(spec, tmp_path, Raising(spec, tmp_path / "diary"))


def test_a_mistake_of_the_user_ends_it_at_once(tmp_path: Path) -> None:
    spec = study_spec(trials=10)
    wrong = Raising(spec, tmp_path / "diary")
    wrong.error = InputError
    with pytest.raises(InputError):
        run(spec, tmp_path, wrong)
    assert len(finished(spec, tmp_path)) == 1


def test_what_a_stage_cannot_do_to_one_candidate_ends_that_alone(tmp_path: Path) -> None:
    spec = study_spec(trials=3, stages=[{"kind": "prune"}], storage="journal")
    failing = Raising(spec, tmp_path / "diary")
    failing.error, failing.fails = InputError, lambda call: call == 1
    assert [r.outcome for r in run(spec, tmp_path, failing)] == ["failed", "evaluated", "evaluated"]


@pytest.mark.parametrize("error", [ValueError, KeyError, IndexError, AssertionError, RuntimeError])
def test_whatever_a_library_raises_ends_that_candidate_alone(tmp_path: Path, error: type[Exception]) -> None:
    spec = study_spec(trials=3, storage="journal")
    failing = Raising(spec, tmp_path / "diary")
    failing.error, failing.fails = error, lambda call: call == 2
    once, notes = loop(spec, tmp_path, failing), []
    once.note = notes.append
    once.run()
    assert [r.outcome for r in once.ledger.records()] == ["evaluated", "failed", "evaluated"]
    told = once.ledger.records()[1].error
    assert told is not None
    assert told.startswith(f"{error.__name__}: ")
    assert "NaN" in told
    assert "fast_objective.py" in notes[0]  # where it was raised


class Uncounted(Fast):
    """Cannot say what one net in four costs, nor rank another one."""

    def costs(self, candidate: Candidate, needed: bool) -> dict[str, float]:
        if int(candidate.key[:2], 16) % 4 == 1:
            raise ValueError("cannot be exported")
        return super().costs(candidate, needed)

    def proxy(self, candidate: Candidate) -> float:
        if int(candidate.key[:2], 16) % 4 == 0:
            raise RuntimeError("out of memory")
        return super().proxy(candidate)


def test_what_fails_before_any_training_is_that_candidate_too(tmp_path: Path) -> None:
    spec = study_spec(trials=12, storage="journal", proxies={"kind": "naswot", "candidates": 2})
    records = run(spec, tmp_path, Uncounted(spec, tmp_path / "diary"))
    failed = [record for record in records if record.outcome == "failed"]
    assert failed
    assert {record.error for record in failed} == {"ValueError: cannot be exported"}
    done = [record for record in records if record.outcome == "evaluated"]
    assert done
    assert 12 <= len(failed) + len(done) <= 13  # both of the last two may fail


def _full(wrapped: bool) -> Exception:
    full = OSError(errno.ENOSPC, "No space left on device")
    try:
        raise CompressError("cannot be exported: No space left on device") from full
    except CompressError as error:
        return error if wrapped else full


@pytest.mark.parametrize(
    "error", [_full(wrapped=False), _full(wrapped=True), StorageInternalError("No space left on device")]
)
def test_a_full_disk_is_not_the_candidates_fault(tmp_path: Path, error: Exception) -> None:
    """Nor does it count as one of the two times that a candidate may end its process."""

    class Full(Fast):
        def evaluate(self, candidate: Candidate) -> dict[str, float]:
            raise error

    spec = study_spec(trials=3, storage="journal")
    for times in range(1, 4):
        with pytest.raises(type(error), match="No space left"):
            run(spec, tmp_path, Full(spec, tmp_path / "diary"))
        ended = finished(spec, tmp_path)
        assert ended == {number: ["FAIL", "interrupted", None] for number in range(times)}
    run(spec, tmp_path, Fast(spec, tmp_path / "diary"))
    trials = open_study(spec, tmp_path).trials
    assert [v[1] for v in finished(spec, tmp_path).values()] == ["interrupted"] * 3 + ["evaluated"] * 3
    assert trials[3].params == trials[0].params


def test_where_nothing_can_be_put_back_it_is_the_first_error_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Fast):
        def evaluate(self, candidate: Candidate) -> dict[str, float]:
            monkeypatch.setattr("search.study.put_back", lambda *given: self.sample(None))
            raise OSError(errno.ENOSPC, "No space left on device")

    spec = study_spec(trials=3, storage="journal")
    with pytest.raises(OSError, match="No space left"):
        run(spec, tmp_path, Full(spec, tmp_path / "diary"))
    assert finished(spec, tmp_path) == {}


class Busy(Fast):
    """Cannot be timed while ``busy``, before a training or after it."""

    busy, before = False, False

    def costs(self, candidate: Candidate, needed: bool) -> dict[str, float]:
        if self.busy and self.before:
            raise BusyError("another timing on this machine")
        return super().costs(candidate, needed)

    def evaluate(self, candidate: Candidate) -> dict[str, float]:
        found = super().evaluate(candidate)
        if self.busy:
            raise BusyError("another timing on this machine")
        return found


@pytest.mark.parametrize("before", [True, False])
def test_a_machine_that_others_time_on_fails_no_candidate(tmp_path: Path, before: bool) -> None:
    spec = study_spec(trials=3, storage="journal")
    objective = Busy(spec, tmp_path / "diary")
    run(study_spec(trials=1, storage="journal"), tmp_path, objective)
    objective.busy, objective.before = True, before
    for _ in range(3):  # however often that happens
        with pytest.raises(BusyError, match="another timing"):
            run(spec, tmp_path, objective)
    objective.busy = False
    outcomes = [record.outcome for record in run(spec, tmp_path, objective)]
    assert outcomes == ["evaluated", *["interrupted"] * 3, *["evaluated"] * 2]
    parameters = [trial.params for trial in open_study(spec, tmp_path).trials]
    assert (parameters[4] == parameters[1]) != before  # trained, so it is run again


def test_a_study_of_another_program_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/theirs.db"
    for name, directions, trials in (("tried", ["maximize", "minimize"], 1), ("single", ["minimize"], 0)):
        theirs = optuna.create_study(storage=url, study_name=name, directions=directions)
        for _ in range(trials):
            theirs.ask()
        right = f"holds another study of the name {name}: set name or storage"
        with pytest.raises(InputError, match=right):
            open_study(study_spec(name=name, storage=url), tmp_path)
        assert not theirs.user_attrs
