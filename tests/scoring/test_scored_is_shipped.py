"""What is scored is what ships: pixels, sizes and time, evaluated, exported and reported alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scored_runs import call, points, recipe, score_of, shipped, steps
from sklearn.metrics import f1_score

from compress.errors import InputError
from compress.evaluate import evaluate
from compress.exporting import export_run
from compress.measure.score import F1Macs, F1Time
from compress.predict import load
from compress.report.run_folder import read_report
from compress.step import Step

pytestmark = pytest.mark.usefixtures("in_a_hurry")


def test_every_step_ships_the_labels_it_was_scored_by(chain: list[Step]) -> None:
    sizes = []
    for step in chain:
        score = score_of(step)
        assert step.artifact is not None
        model = load(step.artifact)
        sizes.append(model.size)
        assert score.decode == model.how == "fast"
        assert list(score.predictions_test) == shipped(step.artifact)
        targets = np.repeat(np.arange(3), 20)
        assert score.f1_test == pytest.approx(f1_score(targets, score.predictions_test, average="macro"))
        confusion = np.zeros((3, 3), int)
        np.add.at(confusion, (targets, score.predictions_test), 1)
        assert np.array_equal(score.confusion_test, confusion)
        assert 0 <= score.ece_test <= 1
    assert sizes == [24, 16, 16]
    assert [step.kept for step in chain] == [True] * 3
    assert score_of(chain[1]).macs < 0.5 * score_of(chain[0]).macs


def test_why_files_are_decoded_fast_is_said_with_figures(chain: list[Step]) -> None:
    note = score_of(chain[0]).decode_note
    assert note.startswith("fast decoding gives ")
    assert note.endswith(": used")
    assert "of 60 val images the same label, F1 " in note
    assert note in chain[0].notes
    assert note in Path("runs/chain/report.md").read_text()


def test_evaluate_and_export_use_the_pixels_that_were_scored(chain: list[Step]) -> None:
    got = evaluate("runs/chain", "photos/test")
    assert got["final"]["f1"] == pytest.approx(score_of(chain[2]).f1_test)
    assert got["baseline"]["f1"] == pytest.approx(score_of(chain[0]).f1_test)
    assert got["absent"] == []
    for name in ("baseline", "final"):
        assert got[name]["end_to_end_ms"] > got[name]["latency_ms"]
    low, high = got["final"]["end_to_end_ratio_interval"]
    assert low <= got["final"]["end_to_end_ratio"] <= high
    assert load(export_run("runs/chain", "onnx", "exported")).how == "fast"


def test_the_report_has_what_pages_and_comparisons_need(chain: list[Step]) -> None:
    final = read_report("runs/chain")["final"]
    score = score_of(chain[2])
    assert final["predictions_val"] == list(score.predictions_val)
    assert final["predictions_test"] == list(score.predictions_test)
    assert final["confusion_val"] == [list(row) for row in score.confusion_val]
    assert (final["ece_val"], final["ece_test"]) == (score.ece_val, score.ece_test)
    assert final["decode"] == "fast"


def test_by_default_the_models_own_time_counts(chain: list[Step]) -> None:
    base, resized = score_of(chain[0]), score_of(chain[1])
    assert resized.base == base.base
    assert base.base.time_ms == base.latency.median
    assert (resized.time.median, resized.time.low) == (
        resized.latency.ratio,
        resized.latency.ratio_interval[0],
    )
    assert resized.points_test == pytest.approx(points(resized.f1_test, base.f1_test, resized.time.median))
    low, high = resized.points_test_interval
    assert low < resized.points_test < high


def test_a_run_gives_its_macs_and_an_artifact_alone_cannot(chain: list[Step], other: Path) -> None:
    metric = F1Macs(f1_base=None, macs_base=None, baseline=Path("runs/chain"))
    (step,) = steps(recipe("macs", metric=metric))
    base = score_of(step).base
    assert base.macs == score_of(chain[2]).macs
    assert step.to_dict()["base"]["macs"] == base.macs  # what scores it again elsewhere
    assert base.f1_test == score_of(chain[2]).f1_test
    short = 1 - score_of(step).f1_test / base.f1_test
    want = score_of(step).macs / base.macs + (short if short > 0 else 0.5 * short)
    assert score_of(step).points_test == pytest.approx(want)
    with pytest.raises(InputError, match=r"give a run.s folder, or metric\.macs_base"):
        steps(recipe("no-macs", metric=metric.model_copy(update={"baseline": other})))


def test_a_requirement_that_is_not_met_is_exit_code_1_and_the_run_is_whole(
    chain: list[Step], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BEYONDNAS_STORE", "store")
    for name, require, code in (("strict", {"f1": 0.999, "time_ms": 1e5}, 1), ("lax", {"f1": 0.001}, 0)):
        Path(f"{name}.yaml").write_text(recipe(name, metric=F1Time(require=require)).to_yaml())
        got, out, err = call(capsys, f"{name}.yaml")
        assert got == code
        assert (Path("runs") / name / "artifact" / "artifact.json").is_file()
        assert out[-1].startswith(("met: ", "NOT met: "))
        if code:
            assert out[-2].startswith("NOT met: F1 0.")
            f1 = read_report(f"runs/{name}")["final"]["f1_test"]
            assert err[-1] == f"error: requirement not met: F1 {f1:.4f}, required at least 0.999"


def test_evaluate_says_which_classes_are_absent(
    chain: list[Step], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("two/red").mkdir(parents=True)
    Path("two/blue").mkdir()
    for label in ("red", "blue"):
        photo = Path(f"photos/test/{label}/001.jpg")
        (Path("two") / label / "one.jpg").write_bytes(photo.read_bytes())
    Path("two/green").mkdir()  # there, and empty
    code, out, _ = call(capsys, "evaluate", "runs/chain", "--data", "two")
    assert code == 0
    assert out[0] == "no image of green in two"
    assert "ms from file to label" in out[1]
    assert evaluate("runs/chain", "two")["absent"] == ["green"]
