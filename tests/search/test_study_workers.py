"""Several workers of one study: how many trials they begin, how many threads they take."""

from __future__ import annotations

import os
from pathlib import Path

import fast_objective
import pytest
import torch  # loaded with this module, before a worker's first line, as what a real worker is called with
from fast_objective import Fast, loop, study_spec

from search.conduct import conduct
from search.folder import StudyFolder
from search.records import Record
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
