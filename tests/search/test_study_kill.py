"""`kill -9` at random moments: no finished trial is lost, none is repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fast_objective
import optuna
import pytest
from fast_objective import Fast, finished, loop, study_spec

from search.storage import open_study


@pytest.mark.parametrize(("storage", "kills"), [("journal", 20), ("sqlite", 10)])  # which is slower to open
def test_no_finished_trial_is_lost_and_none_repeated(tmp_path: Path, storage: str, kills: int) -> None:
    command = [sys.executable, fast_objective.__file__, str(tmp_path), storage, str(kills)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=root, env={"PYTHONPATH": str(root)}, timeout=100
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for before, after in zip(found["seen"], found["seen"][1:], strict=False):
        assert {number: after[number] for number in before} == before

    last = found["seen"][-1]
    outcomes = Counter(outcome for _, outcome, _ in last.values())
    assert outcomes["evaluated"] == found["trials"]
    assert outcomes["interrupted"]
    assert not outcomes["failed"]

    study = open_study(study_spec(storage=storage), tmp_path)
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "FAIL"}  # none is left open
    key = {str(trial.number): trial.user_attrs.get("key") for trial in study.trials}
    evaluated = [key[number] for number, (_, outcome, _) in last.items() if outcome == "evaluated"]
    assert len(set(evaluated)) == len(evaluated)
    diary = [line.split() for line in (tmp_path / "diary").read_text().splitlines()]
    for count, seen in zip(found["begun"], found["seen"], strict=False):
        already = {key[number] for number, (_, outcome, _) in seen.items() if outcome == "evaluated"}
        assert not already & {k for what, k in diary[count:] if what == "begin"}

    runs_again = {t.user_attrs["rerun_of"]: t for t in study.trials if "rerun_of" in t.user_attrs}
    for trial in study.trials:
        if trial.user_attrs["outcome"] == "interrupted" and "began" in trial.user_attrs:
            if trial.user_attrs.get("kills", 0) == 0:
                again = runs_again[trial.number]
                while "began" not in again.user_attrs and again.number in runs_again:
                    again = runs_again[again.number]  # killed before it began
                assert again.params == trial.params
            else:
                assert trial.number not in runs_again


@pytest.mark.parametrize("killed_in", ["set_metric_names", "set_user_attr"])
def test_a_study_that_is_killed_while_it_is_made_has_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    def kill(*args: object) -> None:
        raise SystemExit

    spec = study_spec()
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, killed_in, kill)
        with pytest.raises(SystemExit):
            open_study(spec, tmp_path)
    assert open_study(spec, tmp_path).metric_names == ["f1", "ms"]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_an_interrupted_trial_is_run_again_once(tmp_path: Path, storage: str) -> None:
    spec = study_spec(storage=storage, trials=2)

    class Dying(Fast):
        def evaluate(self, candidate: object) -> dict[str, float]:
            raise SystemExit  # as a kill: nothing of ours runs

    for _ in range(2):
        dying = loop(spec, tmp_path, Dying(spec, tmp_path / "diary"))
        with pytest.raises(SystemExit):
            dying.run()
        for lock in dying.claims._held.values():
            lock.release()  # as the kernel does it
    lines: list[str] = []
    loop(spec, tmp_path, log=lines).run()
    trials = open_study(spec, tmp_path).trials
    assert [t.user_attrs["outcome"] for t in trials] == ["interrupted"] * 2 + ["evaluated"] * 2
    assert trials[1].params == trials[0].params
    assert trials[1].user_attrs["rerun_of"] == 0
    assert trials[2].params != trials[0].params  # that one has ended two processes
    assert "trial 1: interrupted" in lines


def test_ctrl_c_queues_again_however_often(tmp_path: Path) -> None:
    spec = study_spec(trials=1)

    class Stopped(Fast):
        def evaluate(self, candidate: object) -> dict[str, float]:
            raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            loop(spec, tmp_path, Stopped(spec, tmp_path / "diary")).run()
    loop(spec, tmp_path).run()
    trials = open_study(spec, tmp_path).trials
    assert [t.user_attrs["outcome"] for t in trials] == ["interrupted"] * 4 + ["evaluated"]
    assert all(t.params == trials[0].params for t in trials)


def test_a_trial_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    spec = study_spec(trials=3)
    other = loop(spec, tmp_path)
    (held,) = other._ask()
    mine = loop(spec, tmp_path)
    mine.run()  # two of three: the third is the other one's
    assert open_study(spec, tmp_path).trials[held.number].state.name == "RUNNING"
    other._work([held])
    assert [v[1] for v in finished(spec, tmp_path).values()] == ["evaluated"] * 3


def test_taken_up_again_it_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    def drawn(name: str, *stops: int) -> list[dict[str, object]]:
        spec = study_spec(trials=1, sampler={"kind": "tpe", "startup": 3}, storage="journal")
        for trials in stops:
            loop(spec.model_copy(update={"trials": trials}), tmp_path / name).run()
        return [trial.params for trial in open_study(spec, tmp_path / name).trials]

    assert drawn("once", 9) == drawn("thrice", 2, 5, 9)
