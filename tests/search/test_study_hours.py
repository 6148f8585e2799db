"""``max_hours``: counted over all sessions, kills included; what was begun is ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import fast_objective
import pytest
from fast_objective import Fast, loop, study_spec

from search.clock import Clock, Spent, words
from search.conduct import conduct
from search.folder import StudyFolder
from search.spec import StudySpec
from search.storage import open_study

SLEEP = 0.05


def outcomes(spec: StudySpec, folder: Path) -> list[str]:
    return [trial.user_attrs["outcome"] for trial in open_study(spec, folder).trials]


def test_the_hours_of_all_sessions_together_end_it(tmp_path: Path) -> None:
    spec = study_spec(trials=2)
    first = loop(spec, tmp_path, Fast(spec, tmp_path / "diary", SLEEP))
    first.run()
    before = Spent.on(first.study).seconds
    assert before >= 2 * SLEEP

    hours = (before + 0.3) / 3600
    limited = spec.model_copy(update={"trials": 1000, "max_hours": hours})
    second = loop(limited, tmp_path, Fast(spec, tmp_path / "diary", SLEEP))
    second.run()
    spent = Spent.on(second.study)
    assert second.stopped is not None
    assert second.stopped.startswith(f"the {words(hours)} of max_hours are over (")
    assert spent.seconds >= before + 0.3
    assert spent.cpu_seconds > 0
    done = sum(line.startswith("end") for line in (tmp_path / "diary").read_text().splitlines())
    assert 2 <= done <= 2 + 0.3 / SLEEP + 1  # the last was asked for before the time was up

    third = loop(limited, tmp_path)
    third.run()
    assert third.stopped is not None
    assert len(third.ledger.records()) == len(second.ledger.records())
    lines: list[str] = []
    more = loop(spec.model_copy(update={"max_hours": 9.0, "trials": done + 3}), tmp_path, log=lines)
    more.run()
    assert more.stopped is None
    assert " of 9 h): F1 val" in lines[-1]
    assert outcomes(spec, tmp_path).count("evaluated") == done + 3


def test_a_time_in_the_unit_that_fits_it() -> None:
    assert [words(h) for h in (2.5, 1.0, 0.5, 1 / 60, 0.01)] == ["2.5 h", "1 h", "30 min", "1 min", "36 s"]


def test_hours_are_no_part_of_what_a_study_is() -> None:
    assert study_spec(max_hours=2).identity == study_spec().identity


def test_a_killed_session_counts(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from fast_objective import study_spec\n"
        "from search.clock import Clock; from search.storage import open_study\n"
        "study = open_study(study_spec(storage='journal'), Path(sys.argv[1]))\n"
        "with Clock(study, every=0.05):\n"
        "    print('.', flush=True); time.sleep(60)\n"
    )
    root = Path(fast_objective.__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}:{Path(fast_objective.__file__).parent}"}
    began = time.monotonic()  # before the child's clock, however late this process sees its dot
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=env, cwd=root, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.read(1)
    ready = time.monotonic()
    study = open_study(study_spec(storage="journal"), tmp_path)
    while Spent.on(study).seconds < 0.1:  # two notes at least
        assert time.monotonic() - ready < 30
        time.sleep(0.01)
    child.kill()
    child.wait()
    child.stdout.close()
    lost = time.monotonic() - began
    assert 0.1 <= Spent.on(study).seconds <= lost
    with Clock(study):
        time.sleep(0.05)
    assert Spent.on(study).seconds >= 0.15


def test_what_was_begun_before_the_kill_is_ended_although_the_time_is_up(tmp_path: Path) -> None:
    spec = study_spec(storage="journal", trials=100, max_hours=1e-9)

    class Dying(Fast):
        def evaluate(self, candidate: object) -> dict[str, float]:
            raise SystemExit  # as a kill: nothing of ours runs

    dying = loop(spec.model_copy(update={"max_hours": None}), tmp_path, Dying(spec, tmp_path / "diary"))
    with pytest.raises(SystemExit):
        dying.run()
    for lock in dying.claims._held.values():
        lock.release()  # as the kernel does it
    again = loop(spec, tmp_path)
    again.run()
    assert outcomes(spec, tmp_path) == ["interrupted", "evaluated"]
    assert again.stopped is not None


def test_two_at_once_use_up_twice_as_much(tmp_path: Path) -> None:
    study = open_study(study_spec(storage="journal"), tmp_path)
    with Clock(study) as one, Clock(study):
        time.sleep(0.05)
        assert one.spent().seconds >= 0.05  # the other has noted nothing yet
    assert Spent.on(study).seconds >= 0.1


def test_the_baseline_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = study_spec(trials=1)

    class Slow(Fast):
        def baseline_values(self) -> dict[str, float]:
            time.sleep(0.2)
            return super().baseline_values()

    with StudyFolder.open(spec) as folder:
        conduct(spec, folder, lambda spec, log, note: Slow(spec, tmp_path / "diary"), folder.log)
    assert Spent.on(open_study(spec, folder.path)).seconds >= 0.2


def test_it_asks_on_as_long_as_its_caller_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec, asked = study_spec(trials=9, storage="journal"), iter([True, True, False])
    with StudyFolder.open(spec) as folder:
        objective = Fast(spec, tmp_path / "diary")
        assert conduct(spec, folder, lambda *_: objective, folder.log, lambda: next(asked)) is None
        assert outcomes(spec, folder.path) == ["evaluated"] * 2
