"""Timing exported models where they are to run: nothing but requirements-device.txt is there."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from tinynet import tiny_net
from torch import nn

import compress
from compress.bench.cost import in_fresh_process
from compress.bench.result import Bench, read_bench
from compress.bench.run import bench
from compress.errors import InputError
from compress.net import Net, Preprocess
from compress.runtimes.base import Artifact
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.openvino_runtime import OpenvinoRuntime

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a large ``baseline`` and a tiny ``artifact``, and ``openvino`` beside."""
    folder = tmp_path_factory.mktemp("models")
    layers = [nn.Conv2d(3, 64, 3), *(nn.Conv2d(64, 64, 3) for _ in range(4))]
    large = Net(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), Preprocess(32), tuple("a" * 64)
    )
    export_net(large, OnnxRuntime(), folder / "run" / "baseline")
    export_net(tiny_net(), OnnxRuntime(), folder / "run" / "artifact")
    export_net(tiny_net(), OpenvinoRuntime(), folder / "openvino")
    return folder


def command(*args: object, word: str = "bench", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "compress", word, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
    )


def absent() -> set[str]:
    """What imports of a whole installation fail on a device. One of the models is for OpenVINO."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    there = set(named((ROOT / "requirements-device.txt").read_text())) | {"openvino", "typing-extensions"}
    missing = set(named(config["options"]["install_requires"])) - there
    owners = packages_distributions()
    return {top for top, names in owners.items() if {canonicalize_name(name) for name in names} & missing}


def named(text: str) -> dict[str, Requirement]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def test_a_device_needs_the_same_versions() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    whole = named(config["options"]["install_requires"])
    for name, requirement in named((ROOT / "requirements-device.txt").read_text()).items():
        assert str(requirement) == str(whole[name])
    assert {"torch", "sklearn", "optuna", "onnx"} <= absent()


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH where most of our packages are not installed."""
    shadow = tmp_path_factory.mktemp("absent")
    for package in absent():
        (shadow / f"{package}.py").write_text(f"raise ImportError('{package} is not there')\n")
    return str(shadow)


@pytest.fixture(scope="module")
def on_a_device(models: Path, device: str) -> Bench:
    """What the command prints there."""
    done = command(models / "run", models / "openvino", "--seconds", 0.5, "--json", PYTHONPATH=device)
    assert done.returncode == 0, done.stderr
    return Bench.model_validate(json.loads(done.stdout))


def test_a_device_decodes_photos_fast(device: str, tmp_path: Path) -> None:
    """As `data.decode: auto` ships a model where that changes no label; it takes OpenCV."""
    export_net(tiny_net(), OnnxRuntime(), tmp_path / "fast", "fast")
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)  # decoded at a quarter
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.jpg")
    photo = tmp_path / "photos" / "a.jpg"
    timed = command(tmp_path / "fast", "--data", photo.parent, "--seconds", 0.2, "--json", PYTHONPATH=device)
    assert timed.returncode == 0, timed.stderr
    assert Bench.model_validate(json.loads(timed.stdout)).artifacts[0].end_to_end_ms is not None
    told = command(tmp_path / "fast", photo, word="predict", PYTHONPATH=device)
    assert told.returncode == 0, told.stderr
    ((label, probability),) = compress.load(tmp_path / "fast").predict(photo)
    assert told.stdout == f"{photo}\t{label}\t{probability:.4f}\n"


def test_a_runs_folder_is_its_two_models_and_the_first_is_the_reference(
    on_a_device: Bench, models: Path
) -> None:
    names = [Path(one.name).relative_to(models).as_posix() for one in on_a_device.artifacts]
    assert names == ["run/baseline", "run/artifact", "openvino"]
    assert [one.runtime for one in on_a_device.artifacts] == ["onnxruntime", "onnxruntime", "openvino"]
    large, tiny, other = on_a_device.artifacts
    assert large.latency_ratio == 1.0
    for one in (tiny, other):
        assert one.latency_ratio < 0.5
        assert one.latency_ratio_interval[0] <= one.latency_ratio <= one.latency_ratio_interval[1]
        assert one.ratio.faster
    for one in on_a_device.artifacts:
        assert one.latency_ms.p10 <= one.latency_ms.median <= one.latency_ms.p90
        assert one.content == Artifact(Path(one.name)).content
        assert one.bytes == Artifact(Path(one.name)).bytes
        assert one.threads == 1
        assert one.load_ms > one.latency_ms.median
        assert one.whole is None  # without photos
    assert on_a_device.images == "random"
    assert on_a_device.machine["versions"]["onnxruntime"]


def test_loading_is_timed_in_turns_so_that_the_first_does_not_pay_for_a_cold_disk(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def cost(folder: Path, threads: int) -> tuple[float, int]:
        asked.append(folder.name)
        return (900.0 if len(asked) == 1 else 100.0), 7

    monkeypatch.setattr("compress.bench.cost.in_fresh_process", cost)
    found = bench([models / "run"], seconds=0.1)
    assert asked == ["baseline", "artifact"] * 3
    assert [(one.load_ms, one.memory_bytes) for one in found.artifacts] == [(100.0, 7)] * 2


def test_memory_is_that_of_the_model(models: Path, tmp_path: Path) -> None:
    """A net with 160 MiB of weights takes that more than a small one, each in a process of its own."""
    layers = [nn.Linear(6400, 6400) for _ in range(1)]
    net = Net(
        nn.Sequential(nn.AdaptiveAvgPool2d((80, 80)), nn.Conv2d(3, 1, 1), nn.Flatten(), *layers),
        Preprocess(80),
        ("a",) * 6400,
    )
    big = export_net(net, OnnxRuntime(), tmp_path / "big")
    (small_ms, small), (big_ms, large) = (
        in_fresh_process(folder, 1) for folder in (models / "run" / "artifact", big.path)
    )
    assert small_ms > 0
    assert big_ms > 0
    if small is None or large is None:
        pytest.skip("this system does not tell")
    assert 0 < small < 150 * 2**20
    assert large - small > 0.8 * big.bytes


def test_one_artifact_twice_is_two_rows(models: Path) -> None:
    folder = models / "run" / "artifact"
    found = bench([folder, folder], seconds=0.3, threads=2)
    assert [one.name for one in found.artifacts] == [str(folder), f"{folder} (2)"]
    assert len({one.content for one in found.artifacts}) == 1
    assert [one.threads for one in found.artifacts] == [2, 2]


def test_photos(models: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for i in range(3):
        Image.fromarray(pixels).save(tmp_path / "photos" / "deep" / f"{i}.jpg")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    bare = OnnxRuntime().export(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8), tmp_path / "bare")
    with pytest.raises(InputError, match="bare: a bare module takes no photos; leave --data out"):
        bench([bare.path], data=tmp_path / "photos")
    folder = models / "run" / "artifact"
    found = bench([folder, models / "run" / "baseline"], data=tmp_path / "photos", seconds=0.4)
    assert found.images == "3 photos"
    tiny, large = found.artifacts
    assert tiny.end_to_end_ms is not None
    assert tiny.end_to_end_ms.median > tiny.latency_ms.median  # decoding takes longer than this net
    assert (tiny.end_to_end_ratio, tiny.end_to_end_ratio_interval) == (1.0, (1.0, 1.0))
    assert large.whole is not None
    assert 1 < large.whole.median < large.ratio.median  # both decode alike
    for folder, said in (("nowhere", "no such folder"), ("empty", "no photo there that can be read")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=f"--data .*{folder}: {said}"):
            bench([models / "run" / "artifact"], data=tmp_path / folder)


def test_the_table(models: Path) -> None:
    done = command(models / "run" / "baseline", models / "run" / "artifact", "--seconds", 0.3)
    assert done.returncode == 0, done.stderr
    for word in ("median ms", "95 %", "size KiB", "load ms", "memory MiB", "onnxruntime", "batch 1, random"):
        assert word in done.stdout


def test_what_is_no_model_is_one_line(models: Path, tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    for given, said in (
        (tmp_path / "nowhere", r"nowhere: no such folder; give a run's"),
        (tmp_path / "cut", r"cut: not a run's folder"),
    ):
        with pytest.raises(InputError, match=said):
            bench([given])
    broken = shutil.copytree(models / "run" / "artifact", tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"")
    done = command(broken)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "model.onnx: has 0 bytes instead of" in done.stderr


def test_what_is_read_is_what_was_printed(on_a_device: Bench, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(on_a_device.model_dump_json())
    assert read_bench(file) == on_a_device
    content = json.loads(file.read_text())
    for broken, said in (
        ("{", r"bench\.json: not what `bench --json` prints"),
        ("[1]", "prints: found a list, expected a mapping"),
        ("{}", "prints: machine: required key is missing"),
        (json.dumps({**content, "format": "other"}), "prints: format: found 'other'; must be beyondnas"),
        (
            json.dumps({**content, "artifacts": [{}]}),
            r"prints: artifacts\[0\]\.name: required key is missing",
        ),
    ):
        file.write_text(broken)
        with pytest.raises(InputError, match=said):
            read_bench(file)
    with pytest.raises(InputError, match="No such file"):
        read_bench(tmp_path / "nowhere.json")
