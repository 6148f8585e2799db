"""A folder labelled one image at a time, and what is written of it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_evaluate import LABELS, SIZE, Colour, _report

from compress.__main__ import main
from compress.errors import InputError
from compress.net import Net, Preprocess
from compress.predict import load
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.submit import submit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "colours"
    net = Net(Colour((0.0, 0.0, 0.0), 4).eval(), Preprocess(SIZE), LABELS)
    export_net(net, OnnxRuntime(), folder / "artifact")
    _report(folder, {"kind": "f1_time"})  # the final model has 1e6 MACs
    return folder


def photos(folder: Path, count: int, name: str = "{}.jpg") -> Path:
    rng = np.random.default_rng(count)
    for i in range(count):
        path = folder / name.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (2, 2, 3), dtype=np.uint8).repeat(12, 0).repeat(16, 1)).save(
            path
        )
    return folder


def test_both_files_say_what_the_model_says(run: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "test" / "NoLabel", 12)
    for litter in (".DS_Store", "Thumbs.db"):
        (data / litter).touch()
    made = submit(run, tmp_path / "test", tmp_path / "out")
    names = sorted(f"{i}.jpg" for i in range(12))
    expected = dict(zip(names, load(run).predict([data / name for name in names]), strict=True))

    with open(tmp_path / "out/submission.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == names
    for row in rows:
        label, probability = expected[row["file"]]
        assert row["label"] == label
        assert float(row["probability"]) == pytest.approx(probability, abs=1e-4)
        assert float(row["preprocess_s"]) > 0
        assert float(row["model_s"]) > 0

    layout = json.loads((tmp_path / "out/output.json").read_text())
    assert layout["inference"] == {name: label for name, (label, _) in expected.items()}
    times = layout["time"]
    assert times["runtime"]["inference_only"] == pytest.approx(sum(times["inference"].values()))
    assert times["runtime"]["all"] > sum(f.preprocess_s + f.model_s for f in made.files)
    assert 0 < times["profile"]["cpu"] < times["runtime"]["all"]
    assert list(times["inference"]) == names
    assert layout["macs"] == 1_000_000
    assert set(layout) == {"inference", "time", "macs"}


def test_files_of_one_name_keep_their_folder(run: Path, tmp_path: Path) -> None:
    data = photos(photos(tmp_path / "d", 2, "a/{}.jpg"), 1, "b/{}.jpg")
    assert [f.name for f in submit(run, data, tmp_path / "out").files] == ["a/0.jpg", "a/1.jpg", "b/0.jpg"]


def test_a_name_that_is_not_utf8_is_written_escaped(run: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "d", 1)
    (data / "0.jpg").rename(data / os.fsdecode(b"caf\xe9.jpg"))
    submit(run, data, tmp_path / "out")
    assert (tmp_path / "out/submission.csv").read_text().splitlines()[1].startswith(r"caf\udce9.jpg,")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["output.json", "submission.csv"]


def test_unreadable_files(run: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "many", 120)
    (data / "0.jpg").write_bytes(b"no")
    made = submit(run, data, tmp_path / "out")
    assert made.skipped == ("0.jpg: not an image that Pillow can read",)
    assert len(made.files) == 119
    few = photos(tmp_path / "few", 3)
    (few / "1.jpg").write_bytes(b"no")
    with pytest.raises(InputError, match="1 of 3 files are unreadable"):
        submit(run, few, tmp_path / "none")
    for i in range(3):
        (few / f"{i}.jpg").write_bytes(b"no")
    with pytest.raises(InputError, match="none of 3 files"):
        submit(run, few, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_wrong_input(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for where, data, said in (
        (tmp_path / "gone", tmp_path, "gone: no such folder; give a run's"),
        (run, tmp_path / "gone", "no such folder"),
        (run, tmp_path / "empty", "no file in it"),
    ):
        with pytest.raises(InputError, match=said):
            submit(where, data)


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = photos(tmp_path / "d", 5)
    assert main(["submit", str(run), "--data", str(data)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("5 images in ")
    assert (run / "submission/submission.csv").is_file()
    assert main(["submit", str(run), "--data", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_no_torch(run: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "d", 2)
    code = (
        "import sys; from compress.submit import submit; "
        f"submit({str(run)!r}, {str(data)!r}, {str(tmp_path / 'out')!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
