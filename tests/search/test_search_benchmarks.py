"""What the benchmarks of the search are made of, besides what ``--quick`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fast_objective import study_spec

from compress.errors import CompressError
from compress.store import Store

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "default")  # put back afterwards
    import search_studies

    return search_studies


def test_a_child_has_one_core_one_thread_and_a_log(studies: Any, tmp_path: Path) -> None:
    core = next(iter(studies.cores()), None)
    log = tmp_path / "logs" / "child.txt"
    look = (
        "import os; print(os.environ['OMP_NUM_THREADS'], *os.sched_getaffinity(0)); "
        if studies.cores()
        else ""
    )
    with pytest.raises(CompressError, match=r"exit code 1; the last lines of .*child\.txt say why"):
        studies.in_child(core, log, exec, look + "raise ValueError('no such thing')")
    lines = log.read_text().splitlines()
    assert lines[-1] == "ValueError: no such thing"
    assert not studies.cores() or f"1 {core}" in lines


def test_studies_share_the_latency_table_and_no_training(studies: Any) -> None:
    one, other = studies.store_of(study_spec()), studies.store_of(study_spec(seed=1))
    assert one.root != other.root
    assert one.root == studies.store_of(study_spec(max_hours=2)).root
    one.put_value("seconds", "key", 1.5)
    assert other.value("seconds", "key") is None
    one.put_value("latency", "key", [1])
    assert other.value("latency", "key") == Store().value("latency", "key") == [1]


def test_areas_are_compared_by_seed(studies: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import search_hypervolume

    assert search_hypervolume._verdict([0.8, 0.9, 1.0], [0.5, 0.5, 0.5])
    assert "ratio by seed: 1.60, 1.80, 2.00; geometric mean 1.79 (95 % " in capsys.readouterr().out
    assert not search_hypervolume._verdict([0.7, 0.7], [0.5, 0.5])
    assert not search_hypervolume._verdict([0.7, 0.7], [1.0, 0.0])
    assert "no mean of ratios" in capsys.readouterr().out
    assert search_hypervolume._verdict([0.7, 0.7], [0.0, 0.0])
    assert not search_hypervolume._verdict([0.0, 0.0], [0.0, 0.0])
