"""What the loop asks, trains and tells, with an objective that takes no time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fast_objective import TINY, Fast, loop, study_spec

from compress.errors import CompressError, InputError
from search.candidate import Candidate
from search.records import BASE, Record
from search.samplers import Nsga2
from search.samplers import Random as RandomSampler
from search.spec import StudySpec
from search.storage import open_study


def run(spec: StudySpec, folder: Path, objective: Fast | None = None) -> list[Record]:
    once = loop(spec, folder, objective)
    once.run()
    return once.ledger.records()


def begun(folder: Path) -> int:
    return sum(line.startswith("begin") for line in (folder / "diary").read_text().splitlines())


@pytest.mark.parametrize(
    ("kind", "storage"),
    [("tpe", "sqlite"), ("nsga2", "journal"), ("nsga3", "journal"), ("random", "journal")],
)
def test_as_many_are_trained_as_were_asked_for(tmp_path: Path, kind: str, storage: str) -> None:
    memory = {"tpe": {"startup": 4}, "nsga2": {"population": 4}, "nsga3": {"population": 4}}.get(kind, {})
    spec = study_spec(sampler={"kind": kind, **memory}, trials=10, storage=storage)
    records = run(spec, tmp_path)
    assert Counter(r.outcome for r in records)["evaluated"] == begun(tmp_path) == 10
    trials = open_study(spec, tmp_path).trials
    for record in records:
        found = [record.measured["f1"], record.measured["ms"]]
        assert trials[record.number].values == (found if record.outcome == "evaluated" else None)
    assert run(spec, tmp_path) == records  # nothing left to do
    assert len(run(spec.model_copy(update={"trials": 12}), tmp_path)) >= 12


def test_a_study_by_gaussian_processes_goes_on_to_its_end(tmp_path: Path) -> None:
    """What they learn see ``test_samplers``."""
    spec = study_spec(sampler={"kind": "gp", "startup": 3}, trials=6, limits={"params": 30_000})
    records = run(spec, tmp_path)
    assert sum(r.outcome == "evaluated" for r in records) == 6


def test_a_duplicate_is_told_to_people_but_to_no_sampler(tmp_path: Path) -> None:
    spec = study_spec(space=TINY, trials=4, limits={"params": 1e9})  # of four different nets
    records = run(spec, tmp_path)
    twins = [r for r in records if r.outcome == "duplicate"]
    assert begun(tmp_path) == 4
    assert twins
    by_number = {r.number: r for r in records}
    for twin in twins:
        assert twin.state == "FAIL"  # which samplers leave out: each measurement counts once
        assert twin.of is not None
        assert twin.feasible
        assert by_number[twin.of].measured == twin.measured
        assert by_number[twin.of].key == twin.key


def test_a_space_that_is_used_up_ends_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study._KNOWN", 30)  # sooner
    once = loop(study_spec(space=TINY, trials=5, storage="journal"), tmp_path)
    once.run()
    assert once.stopped is not None
    assert "used up" in once.stopped
    assert begun(tmp_path) == 4


def test_a_sampler_that_repeats_itself_is_helped_by_dice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It learns nothing from a duplicate, and so may ask for it again, and again."""
    same = RandomSampler.make
    monkeypatch.setattr(Nsga2, "make", lambda self, seed: same(RandomSampler(), 0))  # one net for ever
    spec = study_spec(trials=3, sampler={"kind": "nsga2"})
    records = run(spec, tmp_path)
    assert begun(tmp_path) == 3
    assert sum(r.outcome == "duplicate" for r in records) >= 5


def test_a_whole_training_counts_beside_an_equal_one_that_was_stopped(tmp_path: Path) -> None:
    """Of two workers that trained the same net, the one that stopped was told first."""

    class Raced(Fast):
        def evaluate(self, candidate: Candidate) -> dict[str, float]:
            other = once.study.ask()
            once.claims.take(other.number)
            other.set_user_attr("key", candidate.key)
            once.ledger.tell(other, "stopped")
            return super().evaluate(candidate)

    spec = study_spec(trials=2)
    once = loop(spec, tmp_path, Raced(spec, tmp_path / "diary"))
    once.run()
    assert [r.outcome for r in once.ledger.records()] == ["evaluated", "stopped"]


def test_what_is_beyond_a_limit_is_told_and_never_trained(tmp_path: Path) -> None:
    spec = study_spec(trials=8, storage="journal", limits={"params": 9_000, "ms": 0.4})
    records = run(spec, tmp_path)
    beyond = [r for r in records if r.outcome == "infeasible"]
    assert beyond
    trials = open_study(spec, tmp_path).trials
    for record in records:
        over = record.measured["params"] > 9_000 or record.measured["ms"] > 0.4
        assert over == (record.outcome == "infeasible") == (not record.feasible)
        assert record.state == ("PRUNED" if over else "COMPLETE")
        constraints = trials[record.number].constraints
        assert constraints["params"] == pytest.approx(record.measured["params"] / 9_000 - 1)
    assert begun(tmp_path) == 8


def test_a_limit_relative_to_the_baseline(tmp_path: Path) -> None:
    spec = study_spec(trials=6, storage="journal", limits={"latency_ratio": 0.5, "ms": 9.0})
    once = loop(spec, tmp_path)
    once.study.set_user_attr(BASE, {"ms": 0.8})
    once.run()
    records = once.ledger.records()
    assert {r.outcome for r in records} >= {"evaluated", "infeasible"}
    assert all((r.measured["ms"] <= 0.4) == r.feasible for r in records if "ms" in r.measured)


def test_a_candidate_is_timed_only_where_that_can_decide(tmp_path: Path) -> None:
    class Timing(Fast):
        def costs(self, candidate: Candidate, needed: bool) -> dict[str, float]:
            found = super().costs(candidate, needed)
            if needed:
                timed.append(found["params"])
                return found
            return {name: found[name] for name in ("params", "macs")}

    timed: list[float] = []
    spec = study_spec(trials=3, storage="journal", limits={"params": 9_000, "ms": 0.1})
    records = run(spec, tmp_path, Timing(spec, tmp_path / "diary"))
    beyond = [r for r in records if r.outcome == "infeasible"]
    assert {"ms" in r.measured for r in beyond} == {True, False}
    assert max(timed) <= 9_000
    assert all(r.measured["ms"] <= 0.1 for r in records if r.outcome == "evaluated")


def test_limits_that_leave_nothing_end_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study._BEYOND", 40)  # sooner
    once = loop(study_spec(trials=1, limits={"params": 1}, storage="journal"), tmp_path)
    once.run()
    assert once.stopped is not None
    assert "beyond the limits, or what stages can do: these leave nothing" in once.stopped
    assert Counter(r.outcome for r in once.ledger.records())["infeasible"] == 40


def test_limits_that_leave_little_do_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study._KNOWN", 20)
    once = loop(study_spec(seed=1, trials=2, limits={"params": 310}, storage="journal"), tmp_path)
    once.run()
    outcomes = [r.outcome for r in once.ledger.records()]
    assert outcomes.count("evaluated") == 2
    assert outcomes.count("infeasible") > 2 * 20  # one in a hundred is within, of a space far from used up
    assert once.stopped is None


def test_what_the_stages_cannot_do_is_told_and_never_trained(tmp_path: Path) -> None:
    class Refusing(Fast):
        def refusal(self, candidate: Candidate) -> str | None:
            return "target 0.7 is out of reach" if int(candidate.key[:2], 16) % 2 else None

    spec = study_spec(trials=6, stages=[{"kind": "prune"}], storage="journal")
    records = run(spec, tmp_path, Refusing(spec, tmp_path / "diary"))
    refused = [r for r in records if r.outcome == "infeasible"]
    assert refused
    assert {r.error for r in refused} == {"target 0.7 is out of reach"}
    assert begun(tmp_path) == sum(r.outcome == "evaluated" for r in records) == 6  # they are free


def test_stages_that_can_do_nothing_end_the_study(tmp_path: Path) -> None:
    class Refusing(Fast):
        def refusal(self, candidate: Candidate) -> str | None:
            return "target 0.99 is out of reach"

    spec = study_spec(trials=6, storage="journal")
    once = loop(spec, tmp_path, Refusing(spec, tmp_path / "diary"))
    once.run()
    assert once.stopped is not None
    assert "what stages can do" in once.stopped


def test_of_several_only_the_best_by_proxy_is_trained(tmp_path: Path) -> None:
    proxies = {"kind": "naswot", "candidates": 4}
    spec = study_spec(objectives=["f1"], trials=5, proxies=proxies)
    records = run(spec, tmp_path)
    assert begun(tmp_path) == 5
    for start in range(0, len(records), 4):
        batch = records[start : start + 4]
        best = max(batch, key=lambda r: r.proxy or 0.0)
        assert [r.outcome for r in batch if r is not best] == ["outranked"] * 3
        assert best.outcome == "evaluated"
        assert {r.state for r in batch if r is not best} == {"FAIL"}  # no measurement to learn from


def test_a_candidate_that_has_no_proxy_is_the_last_to_be_trained(tmp_path: Path) -> None:
    """As one whose drawn values of the recipe do not fit together."""

    class Unfit(Fast):
        def proxy(self, candidate: Candidate) -> float:
            if int(candidate.key[:2], 16) % 4 == 0:
                raise CompressError("make no recipe")
            return super().proxy(candidate)

    spec = study_spec(objectives=["f1"], trials=5, proxies={"kind": "naswot", "candidates": 4})
    records = run(spec, tmp_path, Unfit(spec, tmp_path / "diary"))
    assert begun(tmp_path) == 5
    assert 0 < sum(r.proxy is None for r in records) < len(records)
    for start in range(0, len(records), 4):
        batch = records[start : start + 4]
        assert next(r for r in batch if r.outcome == "evaluated").proxy == max(r.proxy or 0 for r in batch)


def test_beside_a_cost_the_proxy_leaves_small_nets_a_chance(tmp_path: Path) -> None:
    proxies = {"kind": "naswot", "candidates": 4}
    records = run(study_spec(trials=8, proxies=proxies, storage="journal"), tmp_path)
    ranks = []
    for start in range(0, len(records), 4):
        batch = sorted(records[start : start + 4], key=lambda r: r.proxy or 0.0)
        ranks += [i for i, record in enumerate(batch) if record.outcome == "evaluated"]
    assert len(set(ranks)) > 1  # here the proxy is the size: none is beaten by a smaller one


def test_only_the_best_are_trained_longer(tmp_path: Path) -> None:
    spec = study_spec(trials=20, storage="journal", fidelity={"epochs": [3, 20, 60], "keep": 0.34})
    objective = Fast(spec, tmp_path / "diary")
    records = run(spec, tmp_path, objective)
    assert objective.forgotten == [r.key for r in records if r.outcome == "stopped"]
    outcomes = Counter(r.outcome for r in records if r.outcome != "duplicate")
    assert outcomes["evaluated"] + outcomes["stopped"] == 20
    assert 1 <= outcomes["evaluated"] == begun(tmp_path) < 10
    for record in records:
        if record.outcome == "stopped":
            assert record.state == "PRUNED"
            assert record.rungs.keys() <= {3, 20}
        elif record.outcome == "evaluated":
            assert record.rungs.keys() == {3, 20}
            assert record.rungs[3]["f1"] < record.rungs[20]["f1"] < record.measured["f1"]


def test_samplers_learn_from_stopped_trials_of_one_objective(tmp_path: Path) -> None:
    fidelity = {"epochs": [3, 20, 60], "keep": 0.34}
    for objectives in (["f1"], ["f1", "ms"]):
        spec = study_spec(trials=6, storage="journal", fidelity=fidelity, objectives=objectives)
        folder = tmp_path / "-".join(objectives)
        records = run(spec, folder)
        trials = open_study(spec, folder).trials
        assert any(record.outcome == "stopped" for record in records)
        for record in records:
            rungs = {epochs: values["f1"] for epochs, values in record.rungs.items()}
            told = rungs if len(objectives) == 1 and record.outcome != "duplicate" else {}
            assert trials[record.number].intermediate_values == told


def test_a_database_of_another_study_of_that_name_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    run(study_spec(trials=1, storage=url), tmp_path)
    with pytest.raises(InputError, match="another study of the name fast"):
        loop(study_spec(trials=1, storage=url, seed=1), tmp_path)


@pytest.mark.parametrize(
    "url", ["nosuch://host/db", "sqlite:////nosuch/folder/study.db", "sqlite:///:memory:"]
)
def test_a_storage_that_cannot_be_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="storage: "):
        loop(study_spec(storage=url), tmp_path)


def test_a_damaged_file_of_a_study_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, but long enough to look at " * 5)
    with pytest.raises(InputError, match=r"storage: .*study\.db: file is not a database; to begin anew move"):
        loop(study_spec(), tmp_path)


def test_the_file_of_a_study_may_be_read_by_any_tool(tmp_path: Path) -> None:
    import optuna

    run(study_spec(trials=3), tmp_path)
    found = optuna.load_study(study_name="fast", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert found.metric_names == ["f1", "ms"]
    said: dict[str, Any] = found.trials[0].user_attrs
    assert {"candidate", "key", "outcome", "f1", "ms", "params", "macs", "score"} <= said.keys()
