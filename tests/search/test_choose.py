"""The front, and the net to take by each rule."""

from __future__ import annotations

from dataclasses import replace

from fast_objective import study_spec
from hypothesis import given
from hypothesis import strategies as st

from search.choose import choices, knee
from search.records import Record, front

AXES = {"f1": "maximize", "ms": "minimize"}


def record(number: int, f1: float, ms: float, feasible: bool = True) -> Record:
    measured = {"f1": f1, "ms": ms, "params": 1.0, "macs": 1.0, "score": ms / 2 + 1 - f1}
    return Record(number, "COMPLETE", "evaluated", None, str(number), measured, feasible=feasible)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_every_point_is_on_the_front_or_beaten_by_one_on_it(points: list[tuple[int, int]]) -> None:
    records = [record(i, f1 / 10, float(ms)) for i, (f1, ms) in enumerate(points)]
    best = front(records, AXES)
    numbers = {one.number for one in best}
    assert [r.measured["f1"] for r in best] == sorted((r.measured["f1"] for r in best), reverse=True)
    for one in records:
        f1, ms = one.measured["f1"], one.measured["ms"]
        beaten = any(
            o.measured["f1"] >= f1
            and o.measured["ms"] <= ms
            and (o.measured["f1"] > f1 or o.measured["ms"] < ms)
            for o in best
        )
        assert beaten == (one.number not in numbers)


def test_the_knee_is_furthest_above_the_line_between_the_ends() -> None:
    bent = [record(0, 0.2, 1.0), record(1, 0.8, 2.0), record(2, 0.85, 4.0), record(3, 0.9, 9.0)]
    assert knee(bent, "ms").number == 1
    assert knee(bent[:1], "ms").number == 0
    assert knee([bent[0], bent[3]], "ms").number == 0


def test_each_rule_takes_its_own_and_none_beyond_a_limit() -> None:
    metric = {"kind": "f1_time", "require": {"f1": 0.7}}
    records = [
        record(0, 0.99, 0.1, feasible=False),
        record(1, 0.2, 0.2),
        record(2, 0.71, 0.9),
        record(3, 0.75, 0.8),
        record(4, 0.9, 1.1),
    ]
    spec = study_spec(metric=metric)
    assert {name: r.number for name, r in choices(spec, records).items()} == {
        "score": 3,
        "knee": 3,
        "constraint": 3,
    }
    assert "constraint" not in choices(spec, records[:2])
    assert "constraint" not in choices(study_spec(), records)
    assert choices(spec, records[:1]) == {}


def test_a_requirement_of_time_is_about_the_time_that_the_metric_counts() -> None:
    metric = {"kind": "f1_time", "time": "end_to_end", "require": {"time_ms": 2.0}}
    fast, slow = record(0, 0.9, 0.1), record(1, 0.8, 0.2)
    slow_photos = replace(fast, measured={**fast.measured, "time_ms": 2.5})
    within = replace(slow, measured={**slow.measured, "time_ms": 1.5})
    assert choices(study_spec(metric=metric), [slow_photos, within])["constraint"].number == 1
    assert choices(study_spec(metric=metric), [fast, slow])["constraint"].number == 0  # the model's, if alone


def test_of_those_that_meet_a_requirement_the_fastest_by_that_time_is_taken() -> None:
    metric = {"kind": "f1_time", "time": "end_to_end", "require": {"f1": 0.7}}
    small, large = record(0, 0.9, 0.1), record(1, 0.9, 0.2)
    large_photos = replace(small, measured={**small.measured, "time_ms": 2.5})
    small_photos = replace(large, measured={**large.measured, "time_ms": 1.5})
    assert choices(study_spec(metric=metric), [large_photos, small_photos])["constraint"].number == 1
    assert choices(study_spec(metric=metric), [small, large])["constraint"].number == 0
