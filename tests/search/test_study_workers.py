"""Several workers of one study: how many trials they begin, how many threads they take."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fast_objective
import pytest
import torch  # loaded with this module, before a worker's first line, as what a real worker is called with
from fast_objective import Fast, loop, study_spec
from optuna.exceptions import StorageInternalError

from compress.errors import CompressError
from search.candidate import Candidate
from search.conduct import Make, _if_left, conduct
from search.folder import StudyFolder
from search.records import BASE, Record
from search.spec import StudySpec
from search.storage import open_study


@pytest.mark.parametrize("candidates", [2, 8])
def test_a_worker_that_trains_counts_as_one_trial(tmp_path: Path, candidates: int) -> None:
    """Its other candidates are told as outranked by then; of a batch that is looked at, some may be."""
    proxies = {"kind": "naswot", "candidates": candidates}
    spec = study_spec(trials=3, storage="journal", proxies=proxies, objectives=["f1"])
    workers = [loop(spec, tmp_path) for _ in range(4)]
    for count, worker in enumerate(workers[:3], 1):
        batch = worker._ask()
        assert len(batch) == candidates
        for other in batch[count:]:  # the first worker is in training, the rest look at theirs
            worker.ledger.tell(other, "outranked")
    assert workers[3]._ask() == []


def _threads(spec: StudySpec, log: object, note: object) -> Fast:
    with Path(os.environ["FAST_DIARY"]).open("a") as file:
        file.write(f"threads {torch.get_num_threads()}\n")
    return fast_objective.fast(spec, log, note)


def test_workers_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_DIARY", str(tmp_path / "diary"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    spec, share = study_spec(trials=2, workers=2), max(1, (os.cpu_count() or 1) // 2)
    with StudyFolder.open(spec) as folder:
        conduct(spec, folder, _threads, folder.log)
    told = [line for line in (tmp_path / "diary").read_text().splitlines() if line.startswith("threads")]
    assert told[1:] == [f"threads {share}"] * 2  # the first is this process
    assert "OMP_NUM_THREADS" not in os.environ


class _Full(Fast):
    def evaluate(self, candidate: object) -> dict[str, float]:
        raise OSError(errno.ENOSPC, "No space left on device", "store/net.pt")


class _Unstored(Fast):
    """As where Optuna cannot write a trial."""

    def sample(self, trial: object) -> Candidate:
        raise StorageInternalError("the commit failed\nfor a reason")


def _full(spec: StudySpec, log: object, note: object) -> Fast:
    return _Full(spec, Path(os.environ["FAST_DIARY"]))


def _unstored(spec: StudySpec, log: object, note: object) -> Fast:
    return _Unstored(spec, Path(os.environ["FAST_DIARY"]))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (_full, "store/net.pt: No space left on device"),
        (
            _unstored,
            "a worker ended: StorageInternalError: the commit failed (runs/fast/log.txt shows where)",
        ),
    ],
)
def test_what_ends_a_worker_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], make: Make, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_DIARY", str(tmp_path / "diary"))
    with StudyFolder.open(study_spec(trials=2, workers=2)) as folder, pytest.raises(CompressError) as told:
        conduct(study_spec(trials=2, workers=2), folder, make, folder.log)
    assert str(told.value) == line
    assert "Traceback" in (folder.path / "log.txt").read_text()
    assert "Traceback" not in capfd.readouterr().err


def test_of_two_that_begin_a_study_at_once_the_slower_takes_up_the_others_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, taken = study_spec(trials=2), list[Any]()

    class Slower(Fast):
        def baseline_values(self) -> dict[str, float]:
            own = super().baseline_values()
            open_study(spec, tmp_path / "runs/fast").set_user_attr(BASE, {**own, "ms": 0.5})  # the faster one
            return own

        def take_up(self, base: Mapping[str, Any]) -> None:
            taken.append(base["ms"])

    with StudyFolder.open(spec) as folder:
        conduct(spec, folder, lambda *given: Slower(spec, tmp_path / "diary"), folder.log)
    assert open_study(spec, folder.path).user_attrs[BASE]["ms"] == 0.5
    assert taken == [0.5]


def _slow(spec: StudySpec, log: object, note: object) -> Fast:
    return Fast(spec, Path(os.environ["FAST_DIARY"]), seconds=20.0)


def test_an_interrupt_of_the_first_process_alone_ends_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_DIARY", str(tmp_path / "diary"))
    monkeypatch.setattr("search.conduct._GRACE_S", 0.1)
    spec = study_spec(trials=2, workers=2)

    def press() -> None:
        diary = tmp_path / "diary"
        while not diary.exists() or diary.read_text().count("begin") < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with StudyFolder.open(spec) as folder, pytest.raises(KeyboardInterrupt):
        conduct(spec, folder, _slow, folder.log)
    records = [Record.of_trial(trial) for trial in open_study(spec, folder.path).get_trials()]
    assert [record.outcome for record in records] == ["interrupted"] * 2 + [None] * 2  # queued again


def test_why_one_worker_ended_is_told_only_where_trials_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_DIARY", str(tmp_path / "diary"))
    spec = study_spec(trials=2)
    with StudyFolder.open(spec) as folder:
        conduct(spec, folder, fast_objective.fast, folder.log)
    records = [Record.of_trial(trial) for trial in open_study(spec, folder.path).get_trials()]
    for trials, why in ((2, None), (3, "nothing new was found")):
        assert _if_left("nothing new was found", study_spec(trials=trials, workers=2), records) == why


def test_a_trial_that_is_run_again_keeps_its_proxy(tmp_path: Path) -> None:
    spec = study_spec(trials=2, storage="journal", proxies={"kind": "naswot", "candidates": 2})

    class Interrupted(Fast):
        def evaluate(self, candidate: object) -> dict[str, float]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop(spec, tmp_path, Interrupted(spec, tmp_path / "diary")).run()
    loop(spec, tmp_path).run()
    records = [Record.of_trial(trial) for trial in open_study(spec, tmp_path).get_trials()]
    done = [record for record in records if record.outcome == "evaluated"]
    assert len(done) == 2
    assert all(record.proxy is not None for record in done)
    assert any(record.of is not None for record in done)  # the one that was interrupted
