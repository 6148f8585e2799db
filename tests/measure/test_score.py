import csv

import pytest
from pydantic import TypeAdapter, ValidationError

from compress.errors import CompressError
from compress.measure.score import F1Macs, F1Time, MetricSpec, Require


def test_reproduces_every_published_row(facts):
    rows = list(csv.DictReader((facts / "leaderboard.csv").open()))
    assert {row["metric"] for row in rows} == {"f1_time", "f1_macs"}
    for row in rows:
        f1, published = float(row["f1"]), float(row["score"])
        if row["metric"] == "f1_time":
            points = F1Time(f1_base=0.70, time_base=43.16).points(f1=f1, time=float(row["time_s"]), macs=None)
            assert points == pytest.approx(published, abs=5e-4), row
        else:
            points = F1Macs().points(f1=f1, macs=float(row["macs"]), time=None)
            assert points == pytest.approx(published, abs=2e-4), row


def test_the_baseline_itself_scores_one():
    metric = F1Time().with_base(f1=0.81, time=3.2)
    assert metric.points(f1=0.81, time=3.2) == 1.0
    assert metric.points(f1=0.81, time=1.6) == 0.75
    assert metric.points(f1=0.83, time=3.2) < 1.0 < metric.points(f1=0.79, time=3.2)


def test_with_base_keeps_what_is_stated():
    assert F1Time(f1_base=0.7).with_base(f1=0.9, time=2.0) == F1Time(f1_base=0.7, time_base=2.0)
    assert F1Macs().with_base(f1=0.9, macs=1e6) == F1Macs()
    assert F1Macs(f1_base=None, macs_base=None).with_base(f1=0.9, macs=1e6) == F1Macs(
        f1_base=0.9, macs_base=1e6
    )


@pytest.mark.parametrize(
    ("metric", "measured", "named"),
    [
        (F1Time(), {"time": 1.0}, "f1_base"),
        (F1Time(f1_base=0.7), {"time": 1.0}, "time_base"),
        (F1Time(f1_base=0.7, time_base=1), {"macs": 1.0}, "needs a time"),
        (F1Macs(macs_base=None), {"macs": 1.0}, "macs_base"),
        (F1Macs(), {"time": 1.0}, "needs multiply-accumulates"),
    ],
)
def test_what_is_missing_is_named(metric, measured, named):
    with pytest.raises(CompressError, match=named):
        metric.points(f1=0.7, **measured)


def test_a_baseline_that_cannot_be_a_base_is_refused():
    with pytest.raises(CompressError, match="cannot be the base of f1_macs"):
        F1Macs(f1_base=None).with_base(f1=0.0, macs=1e6)


def test_extreme_f1_differences_do_not_overflow():
    metric = F1Time(f1_base=1.0, time_base=1.0, slope=1e4)
    assert metric.points(f1=0.0, time=1.0) == pytest.approx(1.5)
    assert F1Time(f1_base=0.0, time_base=1.0, slope=1e4).points(f1=1.0, time=1.0) == pytest.approx(0.5)


def test_requirements_are_met_or_not():
    metric = F1Time(require={"f1": 0.70, "time_ms": 11.5, "macs": 1e6})
    f1, time, macs = metric.met(f1=0.71, time_ms=12.0, macs=None)
    assert (f1.ok, time.ok, macs.ok) == (True, False, False)
    assert f1.line == "met: F1 0.7100, required at least 0.7"
    assert time.line == "NOT met: 12.000 ms, required at most 11.5 ms"
    assert "unknown" in macs.line
    assert F1Time().met(f1=0.1, time_ms=1.0) == ()
    assert F1Time(require=Require(f1=0.7)).met(f1=0.7, time_ms=1.0)[0].ok


def test_specs_read_from_a_recipe():
    adapter = TypeAdapter(MetricSpec)
    for metric in (F1Time(slope=10, require={"f1": 0.7}), F1Macs(f1_floor=0.4)):
        assert adapter.validate_python(metric.canonical()) == metric
    for wrong in ({"kind": "f1_time", "time_base": 0}, {"kind": "f1"}, {"kind": "f1_time", "require": {}}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_keys_without_an_effect_are_refused():
    for wrong in (
        {"kind": "f1_time", "f1_base": 0.7, "time_base": 9.0, "baseline": "runs/x"},
        {"kind": "f1_macs", "baseline": "runs/x"},  # both its bases are constants by default
        {"kind": "f1_macs", "time": "end_to_end"},
        {"kind": "f1_macs", "time": "end_to_end", "require": {"f1": 0.5}},
    ):
        with pytest.raises(ValidationError, match="no effect"):
            TypeAdapter(MetricSpec).validate_python(wrong)
    for right in (
        {"kind": "f1_time", "f1_base": 0.7, "baseline": "runs/x", "time": "end_to_end"},
        {"kind": "f1_macs", "f1_base": None, "baseline": "runs/x"},
        {"kind": "f1_macs", "time": "end_to_end", "require": {"time_ms": 5}},
    ):
        TypeAdapter(MetricSpec).validate_python(right)


def test_the_baseline_must_be_an_exported_model(tmp_path):
    assert F1Time().check() == []
    metric = F1Time(baseline=tmp_path / "run")
    (line,) = metric.check()
    assert line.startswith(f"{tmp_path / 'run'}: neither artifact.json nor artifact/artifact.json there")
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    assert metric.check() == [line]
    (tmp_path / "run" / "artifact" / "artifact.json").write_text("{}")
    assert metric.check() == []
    assert F1Time(baseline=tmp_path / "run" / "artifact").check() == []
