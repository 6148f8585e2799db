"""The command line as a person meets it."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.__main__ import main

pytestmark = pytest.mark.usefixtures("in_a_hurry")

ROOT = Path(__file__).resolve().parents[1]

RECIPE = """
name: tiny
data: {kind: digits, image_size: 16}
model: {kind: yaml, path: tiny-model.yaml}
train: {epochs: 2}
runtime: {kind: onnxruntime}
metric: {kind: f1_time, require: {f1: 0.1, time_ms: 100}}
stages:
  - {kind: finetune, epochs: 1, gate: always}
"""


def _call(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """In this process, which has everything imported; see ``_process`` for one of its own."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        code = main(args)
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


def _process(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "compress", *args],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(in_a_hurry: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny recipe was run once."""
    from test_chain import MODEL

    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny-model.yaml").write_text(MODEL)
    (folder / "tiny.yaml").write_text(RECIPE)
    result = _call("tiny.yaml", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "score_test" in result.stdout
    assert "baseline" in result.stdout
    assert "met:" in result.stdout
    return folder


def test_help_is_instant_and_does_not_import_torch() -> None:
    took = []
    for _ in range(3):  # CPU seconds: a busy machine must not fail this
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = _process("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert result.returncode == 0
        assert "evaluate" in result.stdout
    assert min(took) < 0.5


def test_the_run_folder_has_what_the_design_lists(finished: Path) -> None:
    run = finished / "runs" / "tiny"
    names = {p.name for p in run.iterdir()}
    assert names >= {
        "recipe.yaml", "steps.jsonl", "report.json", "report.html", "report.md", "artifact", "baseline",
        "log.txt", "net.pt",
    }  # fmt: skip
    report = json.loads((run / "report.json").read_text())
    assert {"recipe", "machine", "runtime", "metric", "baseline", "steps", "final"} <= set(report)
    step = {
        "label", "kind", "kept", "why", "f1_val", "f1_test", "latency_ms", "latency_ratio", "end_to_end_ms",
        "params", "macs", "layers", "bytes", "score_val", "score_test", "seconds", "cached",
    }  # fmt: skip
    assert step <= set(report["final"])
    assert report["baseline"]["kind"] == "baseline"
    assert report["baseline"]["score_test"] == pytest.approx(1.0)
    assert {"median", "p10", "p90", "n"} <= set(report["final"]["latency_ms"])
    assert len((run / "steps.jsonl").read_text().splitlines()) == 2
    assert set(report["other_runtimes_ms"]) >= {"onnxruntime", "torch"}
    drawn = {file.stem for file in (run / "figures").glob("*.svg")}
    assert drawn >= {"score-test", "score-val", "f1-time", "time-by-kind", "per-class", "confusion-final"}
    assert {file.stem for file in (run / "figures").glob("*.png")} == drawn
    flips = report["flips"]
    assert flips["photos"] == report["test"]["photos"] == sum(map(sum, report["final"]["confusion_test"]))
    shown = [one["file"] for side in ("lost", "won") for one in flips[side]["shown"]]
    assert sorted(shown) == sorted(f"flips/{file.name}" for file in (run / "flips").glob("*"))
    assert {layer["name"] for layer in report["shapes"]["final"]}
    assert sum(layer["ms"] for layer in report["baseline"]["layers_ms"]) > 0


def test_again_ends_in_seconds_with_the_same_numbers(finished: Path) -> None:
    """And another process finds what this one has stored."""
    before = json.loads((finished / "runs/tiny/report.json").read_text())
    result = _process("tiny.yaml", cwd=finished)
    assert result.returncode == 0, result.stderr
    after = json.loads((finished / "runs/tiny/report.json").read_text())
    for report in (before, after):
        for step in (report["baseline"], report["final"], *report["steps"]):
            del step["seconds"], step["cached"]
    assert after == before


def test_another_recipe_of_that_name_moves_the_old_folder_aside(finished: Path) -> None:
    assert _call("tiny.yaml", "--set", "stages=[]", cwd=finished).returncode == 0
    assert json.loads((finished / "runs/tiny.1/report.json").read_text())["steps"]
    assert _call("tiny.yaml", cwd=finished).returncode == 0  # as it was, for the other tests


def test_evaluate_predict_export_report(finished: Path, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i in range(40):
        folder = tmp_path / "data" / str(digits.target[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[i] * 15.9).astype(np.uint8)).resize((16, 16)).save(folder / f"{i}.png")
    result = _call("evaluate", "runs/tiny", "--data", str(tmp_path / "data"), "--json", cwd=finished)
    assert result.returncode == 0, result.stderr
    got = json.loads(result.stdout)
    assert got["n"] == 40
    assert {"f1", "accuracy", "f1_per_class", "latency_ms"} <= set(got["baseline"])
    assert {"f1", "accuracy", "f1_per_class", "latency_ms", "latency_ratio"} <= set(got["final"])
    assert got["score"] > 0

    image = next((tmp_path / "data" / "0").iterdir())
    result = _call("predict", "runs/tiny", str(image), cwd=finished)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\t")[1] in {str(d) for d in range(10)}

    for to, file in (("onnx", "*.onnx"), ("openvino", "*.xml"), ("torch", "*.pt2")):
        result = _call("export", "runs/tiny", "--to", to, cwd=finished)
        assert result.returncode == 0, result.stderr
        assert list((finished / "runs/tiny" / f"export-{to}").glob(file))

    result = _call("report", "runs/tiny", cwd=finished)
    assert result.returncode == 0, result.stderr
    assert "finetune" in result.stdout


def test_loading_an_artifact_needs_no_torch(finished: Path, tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np, compress\n"
        "out = compress.load('runs/tiny').predict(np.zeros((3, 16, 16, 3), np.uint8))\n"
        "assert len(out) == 3 and 0 < out[0][1] <= 1, out\n"
        "assert 'torch' not in sys.modules\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=finished, env=env, check=True)


def test_plan_says_what_would_happen(finished: Path) -> None:
    result = _call("plan", "tiny.yaml", "--set", "stages=[{kind: prune, target: 0.3}]", cwd=finished)
    assert result.returncode == 0, result.stderr
    assert "prune" in result.stdout
    assert "min to train" in result.stdout


def test_plan_goes_on_to_the_weaker_strengths_as_a_run_does(finished: Path) -> None:
    stages = "stages=[{kind: prune, target: 0.98, retry: [0.3]}]"
    result = _call("plan", "tiny.yaml", "--set", stages, cwd=finished)
    assert result.returncode == 0, result.stderr
    assert "not tried: prune: target 0.98 is out of reach" in result.stdout
    assert "gone, target 0.3" in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nosuch.yaml"], "nosuch.yaml: no such file"),
        (["evalute", "runs/x"], "did you mean evaluate?"),
        (["evaluate", "runs/none", "--data", "."], "runs/none"),
        (["report", "runs/none"], "runs/none: no such folder; give a run's"),
        (["export", "runs/none", "--to", "tflite"], "--to tflite: unknown format"),
        (["evaluate"], "Missing argument"),
        (["predict", "runs/none", "a.jpg"], "runs/none"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_code_2(args: list[str], said: str, tmp_path: Path) -> None:
    result = _call(*args, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_file_where_the_runs_should_be_is_one_line_and_exit_code_2(finished: Path, tmp_path: Path) -> None:
    for name in ("tiny.yaml", "tiny-model.yaml"):
        (tmp_path / name).write_text((finished / name).read_text())
    (tmp_path / "runs").write_text("in the way")
    result = _call("tiny.yaml", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("the store runs/.store: runs is a file")


def test_a_damaged_report_is_one_line_and_exit_code_2(finished: Path, tmp_path: Path) -> None:
    whole = (finished / "runs/tiny/report.json").read_text()
    for text, said in ((whole[:1000], "damaged"), ("{}", "lacks baseline, ")):
        (tmp_path / "report.json").write_text(text)
        for command in (["report"], ["export", "--to", "onnx"], ["evaluate", "--data", "."]):
            result = _call(command[0], str(tmp_path), *command[1:], cwd=finished)
            assert result.returncode == 2, result.stderr
            assert said in result.stderr
            assert len(result.stderr.strip().splitlines()) == 1


def test_ctrl_c_is_130_and_the_same_command_goes_on(finished: Path, tmp_path: Path) -> None:
    for name in ("tiny.yaml", "tiny-model.yaml"):
        (tmp_path / name).write_text((finished / name).read_text())
    command = ["tiny.yaml", "--set", "train.epochs=12"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        [sys.executable, "-m", "compress", *command], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    while not list((tmp_path / "runs/.store/work").glob("*/checkpoint.pt")):  # of the first epoch
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert said.strip() == "interrupted: the same command goes on from here"
    assert not (tmp_path / "runs/tiny/report.json").exists()
    result = _call(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"going on after epoch \d+", (tmp_path / "runs/tiny/log.txt").read_text())
    assert json.loads((tmp_path / "runs/tiny/report.json").read_text())["baseline"]["epochs"] == 12


def test_plan_shows_the_net_layer_by_layer_and_draws_it(finished: Path) -> None:
    command = ("plan", "tiny.yaml", "--set", "stages=[]")
    result = _call(*command, "--plot", "layers.png", cwd=finished)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^layer +kind +shape", result.stdout, re.MULTILINE)
    assert re.search(r"rank correlation .* MACs -?\d", result.stdout)
    assert re.search(r"in all: .* of training and [\d.]+ min of planning", result.stdout)
    assert "timing its layers" in result.stderr
    assert (finished / "layers.png").stat().st_size > 10_000
    wrong = _call(*command, "--plot", "layers.jpg", cwd=finished)
    assert wrong.returncode == 2
    assert wrong.stderr.strip().splitlines()[-1].startswith("--plot layers.jpg: the file must end in")


def test_a_report_has_the_time_of_each_layer(finished: Path) -> None:
    report = json.loads((finished / "runs/tiny/report.json").read_text())
    for step in (report["baseline"], report["final"]):
        layers = step["layers_ms"]
        assert all(set(layer) == {"name", "kind", "ms", "macs"} for layer in layers)
        assert sum(layer["macs"] for layer in layers) == step["macs"]
        assert sum(layer["ms"] for layer in layers) == pytest.approx(step["latency_ms"]["median"], rel=1e-3)


def test_calibrating_an_unknown_runtime_is_one_line(tmp_path: Path) -> None:
    result = _call("calibrate", "--runtime", "tflite", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("--runtime tflite: unknown runtime, there is onnxruntime")
    assert len(result.stderr.strip().splitlines()) == 1


def test_plan_with_patience(finished: Path) -> None:
    result = _call("plan", "tiny.yaml", "--set", "train.patience=3", "--set", "train.epochs=9", cwd=finished)
    assert result.returncode == 0, result.stderr
    assert "baseline: 9 epochs" in result.stdout


def test_schema_is_json(tmp_path: Path) -> None:
    result = _call("schema", cwd=tmp_path)
    assert result.returncode == 0
    assert "stages" in json.loads(result.stdout)["properties"]
