"""Whose a running trial is: beside its storage, by locks; on a server, also by the machine's name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from fast_objective import Fast, finished, loop, study_spec
from optuna.trial import TrialState

from search.candidate import Candidate
from search.claims import Claims
from search.recovery import HOST, take_back
from search.spec import StudySpec
from search.storage import open_study


def killed(spec: StudySpec, folder: Path) -> None:
    """A process that works on a trial and dies."""

    class Dying(Fast):
        def evaluate(self, candidate: object) -> dict[str, float]:
            raise SystemExit  # as a kill: nothing of ours runs

    dying = loop(spec, folder, Dying(spec, folder / "diary"))
    with pytest.raises(SystemExit):
        dying.run()
    for lock in dying.claims._held.values():
        lock.release()  # as the kernel does it


@pytest.mark.parametrize("storage", ["sqlite", "journal", "url"])
def test_a_machine_with_a_new_name_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    spec = study_spec(trials=1, storage=url if storage == "url" else storage)
    monkeypatch.setattr("search.study.HOST", "container-1")
    killed(spec, tmp_path)
    monkeypatch.setattr("search.study.HOST", HOST)
    loop(spec, tmp_path).run()
    study = open_study(spec, tmp_path)
    assert [trial.user_attrs["outcome"] for trial in study.trials] == ["interrupted", "evaluated"]
    assert study.trials[1].params == study.trials[0].params


def test_on_a_server_the_trials_of_others_are_left_alone_and_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study_spec(trials=3, storage="journal")
    monkeypatch.setattr("search.study.HOST", "0@elsewhere")
    killed(spec, tmp_path)
    monkeypatch.setattr("search.study.HOST", HOST)
    lines: list[str] = []
    mine = loop(spec, tmp_path, log=lines)
    mine.claims = Claims(tmp_path / "own", complete=False)
    mine.run()  # two of three: one is the other machine's
    (line,) = [line for line in lines if "elsewhere" in line]
    assert line.startswith("trial 0: in work on 0@elsewhere, left alone.")
    assert line.endswith("--study-name fast --trial-number 0 --state fail")
    study = open_study(spec, tmp_path)
    assert study.trials[0].state == TrialState.RUNNING

    study.tell(0, state=TrialState.FAIL)  # as that command does
    mine.run()
    assert [v[1] for v in finished(spec, tmp_path).values()] == [None] + ["evaluated"] * 3

    asked = study.ask()  # another machine is about to say whose it is
    take_back(study, mine.claims, lines.append)
    assert study.trials[asked.number].state == TrialState.RUNNING
    assert "in work on another machine" in lines[-1]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_trial_that_somebody_ended_costs_its_worker_that_trial_alone(tmp_path: Path, storage: str) -> None:
    spec = study_spec(trials=3, storage=storage, proxies={"kind": "naswot", "candidates": 2})
    seen: list[int] = []

    class Ended(Fast):
        def evaluate(self, candidate: Candidate) -> dict[str, float]:
            found = super().evaluate(candidate)
            if not seen:
                study = open_study(spec, tmp_path)
                seen.extend(t.number for t in study.trials if t.state == TrialState.RUNNING)
                study.tell(seen[0], state=TrialState.FAIL)  # as `optuna tell` on another machine
            return found

    lines: list[str] = []
    mine = loop(spec, tmp_path, Ended(spec, tmp_path / "diary"), log=lines)
    mine.run()
    assert [line for line in lines if "somebody else" in line] == [
        f"trial {seen[0]}: ended by somebody else while in work here; its net stays in the store"
    ]
    outcomes = [v[1] for v in finished(spec, tmp_path).values()]
    assert len(outcomes) == len(open_study(spec, tmp_path).trials), "one is still running"
    assert outcomes.count("evaluated") == 3
    assert outcomes[seen[0]] is None
    assert not mine.claims._held


def test_two_folders_of_one_database_leave_each_others_trials_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = study_spec(trials=2, storage="sqlite:///shared.db")
    other = loop(spec, tmp_path / "one")
    (held,) = other._ask()
    loop(spec, tmp_path / "two").run()
    assert open_study(spec, tmp_path).trials[held.number].state == TrialState.RUNNING
    other._work([held])
    assert [v[1] for v in finished(spec, tmp_path).values()] == ["evaluated"] * 2


def test_the_claims_of_a_server_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    urls = ["postgresql://me:secret@db/nas", "postgresql+psycopg://you@db/nas"]
    one, other = (Claims.of(url, "fast", tmp_path / url[-8:]) for url in urls)
    one.take(0)
    assert not other.alone(0)
    assert not one.complete
    for url, study in [(urls[0], "slow"), ("postgresql://db/else", "fast"), ("mysql://db/nas", "fast")]:
        assert Claims.of(url, study, tmp_path).alone(0)
    one.drop(0)
    assert other.alone(0)
    assert [path.name.split("-")[0] for path in (tmp_path / "tmp").iterdir()] == ["beyondnas"]
