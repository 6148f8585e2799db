"""What a score compares with: the time that counts, and another model as the base."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scored_runs import Guess, call, points, recipe, recorded, score_of, shipped, steps
from sklearn.metrics import f1_score

from compress.errors import InputError
from compress.evaluate import evaluate
from compress.measure.score import F1Time
from compress.net import Net, Preprocess
from compress.report.run_folder import read_report
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.stages.resize import Resize

pytestmark = pytest.mark.usefixtures("in_a_hurry")


def test_end_to_end_time_counts_in_score_gate_and_require(work: Path) -> None:
    metric = F1Time(time="end_to_end", require={"time_ms": 1e-6})
    base, resized = recorded(
        recipe("whole", metric=metric, stages=(Resize(size=16, epochs=1),), gate="always")
    )
    a, b = score_of(base), score_of(resized)
    assert b.base.time_ms == a.end_to_end_ms > a.latency.median
    assert b.time == b.end_to_end_ratio
    assert b.time.median != b.latency.ratio
    assert b.points_test == pytest.approx(points(b.f1_test, a.f1_test, b.time.median))
    assert f"time x{b.time.low:.3f} to x{b.time.high:.3f} of its parent's" in resized.why
    (line,) = read_report("runs/whole")["require"]
    assert f"{a.end_to_end_ms * b.end_to_end_ratio.median:.3f} ms" in line["line"]
    got = evaluate("runs/whole", "photos/test")
    want = points(got["final"]["f1"], got["baseline"]["f1"], got["final"]["end_to_end_ratio"])
    assert got["score"] == pytest.approx(want)


def test_another_model_gives_the_base_values(other: Path) -> None:
    value = recipe(
        "against", metric=F1Time(baseline=other), stages=(Resize(size=16, epochs=1),), gate="always"
    )
    targets = np.repeat(np.arange(3), 20)
    said = shipped(other)
    for step in recorded(value):
        score = score_of(step)
        base = score.base
        assert list(base.predictions_test) == said
        assert base.f1_test == pytest.approx(f1_score(targets, said, average="macro"))
        assert score.points_test == pytest.approx(points(score.f1_test, base.f1_test, score.time.median))
        assert score.points_val == pytest.approx(points(score.f1_val, base.f1_val, score.time.median))
        assert score.time.low < score.time.high  # of this model to the other, not to itself
        low, high = score.points_test_interval
        assert low < score.points_test < high
    assert score_of(steps(value)[0]).latency.ratio == 1.0  # tables still compare with the baseline
    got = evaluate("runs/against", "photos/test")
    times = got["baseline"]["latency_ms"]
    assert got["final"]["latency_ratio"] == pytest.approx(got["final"]["latency_ms"] / times, rel=0.6)
    assert got["score"] != pytest.approx(
        points(got["final"]["f1"], got["baseline"]["f1"], got["final"]["latency_ratio"])
    )


def test_another_model_must_know_the_classes(work: Path) -> None:
    net = Net(Guess().eval(), Preprocess(20), ("red", "green", "grey"))
    path = export_net(net, OnnxRuntime(), Path("grey")).path
    with pytest.raises(InputError, match="grey tells red, green, grey apart; the data has blue, green, red"):
        steps(recipe("grey", metric=F1Time(baseline=path)))


def test_a_changed_base_is_measured_anew(other: Path) -> None:
    """Its files are part of what was asked, its path is not."""
    value = recipe("changed", metric=F1Time(baseline=other))
    first = score_of(steps(value)[0])
    assert score_of(steps(value)[0]) == first
    meta = json.loads((other / "artifact.json").read_text())
    (other / "artifact.json").write_text(
        json.dumps({**meta, "preprocess": {**meta["preprocess"], "decode": "reference"}})
    )
    assert score_of(steps(value)[0]) != first


def test_a_baseline_that_is_not_there_is_one_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("gone.yaml").write_text(recipe("gone", metric=F1Time(baseline=Path("runs/none"))).to_yaml())
    code, _, err = call(capsys, "gone.yaml")
    assert code == 2
    (line,) = err
    assert "metric.baseline: runs/none: neither artifact.json nor artifact/artifact.json there" in line
