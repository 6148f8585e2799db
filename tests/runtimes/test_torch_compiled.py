"""The torch runtime as machine code: made with a C++ compiler, run without."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.recipe import Recipe
from compress.runtimes.deploy import eager_logits, export_net, parity
from compress.runtimes.kinds import open_artifact
from compress.runtimes.torch_runtime import TorchRuntime

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_compiler_it_is_refused_before_anything_is_trained(monkeypatch, tmp_path):
    runtime = TorchRuntime(compile=True)
    assert Recipe(name="x", runtime=runtime).check() == []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    line = "runtime.compile needs a C++ compiler: install g++ (apt install g++), or leave it out"
    assert Recipe(name="x", runtime=runtime).check() == [f"runtime: {line}"]
    assert runtime.missing(export=True) == line
    assert runtime.missing() is None  # what was compiled elsewhere runs
    assert TorchRuntime().missing(export=True) is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_is_the_same_net(relu6_net, pictures, tmp_path):
    threads = torch.get_num_threads()
    artifact = export_net(relu6_net, TorchRuntime(compile=True, threads=2), tmp_path / "a")
    assert torch.get_num_threads() == threads
    runtime, _ = open_artifact(artifact.path)
    assert runtime == TorchRuntime(compile=True, threads=2)
    assert parity(relu6_net, runtime, artifact, pictures).ok
    want = eager_logits(relu6_net, pictures)
    one, free = runtime.load(artifact, batch=1), runtime.load(artifact, batch=None)
    allowed = 1e-4 * np.abs(want).max()
    assert np.abs(one(pictures[3:4]) - want[3]).max() < allowed
    for n in (1, 3, len(pictures)):
        assert np.abs(free(pictures[:n]) - want[:n]).max() < allowed
    np.save(tmp_path / "in.npy", pictures)
    code = f"""
import os
os.environ["PATH"] = "/nowhere"  # no compiler
import numpy as np
from pathlib import Path
from compress.runtimes.kinds import load_artifact
images = np.load({str(tmp_path / "in.npy")!r})
np.save({str(tmp_path / "out.npy")!r}, load_artifact(Path({str(artifact.path)!r}), None)(images))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "out.npy"), free(pictures))
