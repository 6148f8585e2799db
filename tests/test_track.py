"""Runs followed in TensorBoard and MLflow, read back by their own readers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import STEPS, full_report

from compress import track
from compress.errors import CompressError
from compress.recipe import Recipe
from compress.report.run_folder import write_report
from compress.track import MlflowTrack, TensorboardTrack, figures_of, tracking


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run as far as a tracker looks at it."""
    folder = tmp_path / "runs/tiny"
    folder.mkdir(parents=True)
    write_report(folder, full_report(folder))
    (folder / "recipe.yaml").write_text(Recipe(name="tiny").to_yaml())
    return folder


def follow(recipe: Recipe, folder: Path) -> None:
    with tracking(recipe) as tracker:
        assert tracker is not None
        for index, step in enumerate(STEPS):
            tracker.step(index, step.label, figures_of(step), step.why)
        tracker.report(folder)


def test_no_key_no_tracker() -> None:
    with tracking(Recipe(name="tiny")) as tracker:
        assert tracker is None


def test_tensorboard_has_every_steps_figures_the_report_and_the_artifact(
    run_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = Recipe(name="tiny", track=TensorboardTrack(folder=tmp_path / "logs"))
    follow(recipe, run_folder)
    follow(recipe, run_folder)  # again: in the place of the first
    read = EventAccumulator(str(tmp_path / "logs/tiny"), size_guidance={"images": 0})
    read.Reload()
    tags = read.Tags()
    f1 = read.Scalars("f1/val")
    assert [(event.step, round(event.value, 3)) for event in f1] == [(0, 0.8), (1, 0.79), (3, 0.2)]
    assert len(read.Scalars("seconds")) == len(STEPS)  # a stage that was skipped took time too
    assert {"f1/test", "score/val", "score/test", "time/ms", "time/ratio", "size/bytes"} <= set(
        tags["scalars"]
    )
    assert {"f1-time", "score-test", "per-class"} <= set(tags["images"])

    def text(tag: str) -> str:
        return b"".join(read.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val).decode()

    assert "name: tiny" in text("recipe")
    assert text("report").startswith("# tiny")
    assert text("artifact") == str((run_folder / "artifact").resolve())
    assert text("steps") == "**spoil**: not better"


def test_mlflow_has_parameters_figures_reports_and_the_artifact(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    follow(Recipe(name="tiny", seed=3, track=MlflowTrack(experiment="ours")), run_folder)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/.mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("ours")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert run.data.params["seed"] == "3"
    assert run.data.params["data.kind"] == "digits"
    history = client.get_metric_history(run.info.run_id, "f1/val")
    assert [(one.step, round(one.value, 3)) for one in history] == [(0, 0.8), (1, 0.79), (3, 0.2)]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"report.html", "report.md", "report.json", "recipe.yaml", "figures"}
    assert run.data.tags["artifact"] == str((run_folder / "artifact").resolve())
    assert not (tmp_path / "mlruns").exists()

    with (
        pytest.raises(RuntimeError, match="stopped"),
        tracking(Recipe(name="tiny", track=MlflowTrack(experiment="ours"))),
    ):
        raise RuntimeError("stopped")
    status = [run.info.status for run in client.search_runs([experiment.experiment_id])]
    assert sorted(status) == ["FAILED", "FINISHED"]


def test_an_mlflow_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    recipe = Recipe(name="tiny", track=MlflowTrack(uri="http://127.0.0.1:9"))
    with (
        pytest.raises(CompressError, match=r"track: mlflow at http://127\.0\.0\.1:9: ") as caught,
        tracking(recipe),
    ):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_missing_extra_is_said_when_the_recipe_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(track.importlib.util, "find_spec", lambda name: None if name == kind else real(name))
    (line,) = Recipe.model_validate({"name": "tiny", "track": {"kind": kind}}).check()
    assert line == f"track: {kind} is not installed: pip install 'beyondnas[{kind}]'"


def test_reading_a_recipe_with_a_tracker_imports_neither() -> None:
    code = (
        "import sys; from compress.recipe import Recipe;"
        "Recipe.model_validate({'name': 'x', 'track': {'kind': 'mlflow'}});"
        "print([m for m in ('mlflow', 'tensorboard', 'torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_tracked_of_a_step_is_what_the_report_says() -> None:
    step = STEPS[1]
    said, tracked = step.to_dict(), figures_of(step)
    assert tracked["f1/val"] == said["f1_val"]
    assert tracked["score/test"] == said["score_test"]
    assert tracked["time/ratio"] == said["latency_ratio"]
    assert tracked["time/ms"] == said["latency_ms"]["median"]
    assert tracked["size/bytes"] == said["bytes"]
    assert set(figures_of(replace(step, score=None))) == {"seconds", "kept"}
    json.dumps(tracked)
