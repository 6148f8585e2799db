"""What the benchmarks of the search are made of, besides what ``--quick`` shows."""

from __future__ import annotations

import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from fast_objective import study_spec

from compress import yamlio
from compress.errors import CompressError
from compress.store import Store
from search.sample import suggest
from search.space import Space
from search.spec import StudySpec
from search.storage import open_study

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


def test_a_study_may_measure_a_table_of_its_own(studies: Any) -> None:
    own = studies.store_of(study_spec(), own_tables=True)
    own.put_value("latency", "key", [1])
    assert Store().value("latency", "key") is None


def test_the_lower_ratio_of_areas_decides(studies: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from search_areas import verdict

    assert verdict([0.8, 0.9, 1.0], [0.5, 0.5, 0.5])
    told = capsys.readouterr().out
    assert "ratio by seed: 1.60, 1.80, 2.00; geometric mean 1.79 (95 % " in told
    assert "ratio of the means 1.80; the lower 1.79, the aim 1.5" in told
    assert not verdict([0.7, 0.7], [0.5, 0.5])
    capsys.readouterr()
    assert not verdict([1.2, 0.3], [1.0, 0.1])  # three times a small area in one seed
    assert "geometric mean 1.90" in (told := capsys.readouterr().out)
    assert "the lower 1.36" in told


def test_samples_of_another_space_or_code_and_those_that_failed_are_tried_again(
    studies: Any, tmp_path: Path
) -> None:
    import space_samples
    import typer

    space = Space.model_validate(yamlio.read(space_samples.SPACES / "quickstart.yaml")["space"])
    now = space_samples.made_by(space, None)
    other = space.model_copy(update={"image_size": 48})
    assert len({now, space_samples.made_by(other, None), space_samples.made_by(space, "onnxruntime")}) == 3
    row = {"runtime": None, "seconds": 0.0}
    before = [
        {**row, "number": 0, "error": "ValueError: mended since", "by": now},
        {**row, "number": 1, "error": None, "by": space_samples.made_by(other, None)},
        {**row, "number": 2, "error": None},  # as earlier versions wrote it
        {**row, "number": 3, "error": None, "by": now},
    ]
    file = tmp_path / "quickstart.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in before))
    with pytest.raises(typer.Exit) as ended:
        space_samples.main(["quickstart"], count=4, exports=0, out=tmp_path)
    assert ended.value.exit_code == 0
    added = list(space_samples.rows(file))[4:]
    assert sorted(one["number"] for one in added) == [0, 1, 2]
    assert {one["by"] for one in added} == {now}


@pytest.mark.parametrize(
    ("ours", "original", "told"),
    [
        ([0.7, 0.7], [1.2, 0.0], "ratio by seed: 0.58, inf\nratio of the means 1.17; the lower 1.17"),
        ([0.7, 0.7], [0.0, 0.0], "no ratio: the original found no net"),
        ([0.9, 0.0], [0.2, 0.2], "ratio of the means 2.25; the lower 0.00"),
    ],
)
def test_an_area_of_nothing_in_one_seed_alone_proves_nothing(
    studies: Any, capsys: pytest.CaptureFixture[str], ours: list[float], original: list[float], told: str
) -> None:
    from search_areas import verdict

    assert not verdict(ours, original)
    assert told in capsys.readouterr().out


def test_the_time_of_a_netas_exact(studies: Any) -> None:
    from search_areas import as_exact

    other = [(0.3, 0.1), (0.6, 0.5)]
    ours = [(0.5, 0.1), (0.6, 0.2), (0.7, 0.4)]
    assert as_exact(ours, other).endswith("F1, 0.600 at 0.500, in 0.40 of its time")
    assert as_exact(ours[:1], other).startswith("no net of ours")
    assert as_exact(ours, []) == "the original found nothing"


def test_a_search_is_over_by_cpu_time(studies: Any, tmp_path: Path) -> None:
    from search_hypervolume import cpu_clock

    study = open_study(study_spec(storage="journal"), tmp_path)
    study.set_user_attr("clock.other", [500.0, 7.0])  # of a session that mostly waited
    spent = cpu_clock(study)
    assert 7 <= (before := spent()) < 100
    end = time.process_time() + 0.01
    while time.process_time() < end:
        pass
    assert before < spent() < 100


def test_only_limits_on_time_need_a_table(studies: Any) -> None:
    from search_hypervolume import Search

    needs = {"latency_ratio": 1.0}, {"ms": 2.0}, {"params": 1e6}, None
    specs = [study_spec(limits=limits) for limits in needs]
    assert [Search("ours", spec, 1.0).needs_a_table for spec in specs] == [True, True, False, False]


def test_ours_searches_as_the_shipped_study_and_the_original_as_it_did(
    studies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search_hypervolume import FULL, SPACE, _own, _search, _smaller

    monkeypatch.chdir(FOLDER.parent)
    data = "data={kind: digits}"  # of no matter here
    common = [data, FULL, _smaller(4)[1]]
    shipped = StudySpec.from_yaml("recipes/spaces/cpu.yaml", [data])
    original, ours = (
        _search(arm, SPACE, [*common, *_own(arm, False)], "name", 1, 0.5).spec for arm in ("original", "ours")
    )
    assert (ours.limits, ours.proxies, ours.fidelity) == (shipped.limits, shipped.proxies, shipped.fidelity)
    assert ours.fidelity is not None
    assert ours.fidelity.epochs[-1] == ours.train.epochs == shipped.train.epochs
    assert (original.limits, original.proxies, original.fidelity) == (None, None, None)
    written = StudySpec.from_yaml(SPACE, [data])
    assert [4 * size for size in original.space.image_size] == list(written.space.image_size)
    assert original.space.train == written.space.train
    assert original.space.slots == written.space.slots == ours.space.slots
    assert (ours.sampler, ours.seed) == (original.sampler, 1)


def test_what_samplers_are_compared_on_has_something_to_learn(
    studies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1 without noise of random nets is as usual, and follows from their choices and size alone."""
    from search_learning import STUDY, Artificial, Heard, studied

    monkeypatch.chdir(FOLDER.parent)
    objective = Artificial(StudySpec.from_yaml(STUDY, ["data={kind: digits}"]))
    found = []
    for i in range(100):
        dice = Heard(random.Random(i))
        candidate = suggest(objective.spec.space, dice)
        objective._drawn[candidate.key] = dice.said
        found.append(objective.true(candidate))
        assert found[-1] == objective.true(candidate)
    assert statistics.mean(found) == pytest.approx(0.6, abs=0.03)
    assert statistics.pstdev(found) == pytest.approx(0.09, abs=0.03)
    assert all(0.3 < value < 0.95 for value in studied("f1,ms", "random", 0, 4))
