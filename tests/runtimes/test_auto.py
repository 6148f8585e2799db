import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from compress.errors import CompressError
from compress.net import Net, Preprocess
from compress.runtimes.auto import AutoRuntime, by_kind, times_everywhere
from compress.runtimes.kinds import BY_KIND, installed
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.openvino_runtime import OpenvinoRuntime

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("in_a_hurry")


def test_takes_the_fastest_that_agrees(relu6_net, pictures):
    runtime, rows = AutoRuntime().resolve(relu6_net, pictures)
    assert [row.kind for row in rows] == list(BY_KIND)
    here = {cls().kind for cls in installed()}
    for row in rows:
        assert (row.ms is not None) == (row.kind in here)
        assert row.kind in here or row.reason == BY_KIND[row.kind]().missing(export=True)
    rows = [row for row in rows if row.kind in here]
    chosen = [row for row in rows if row.chosen]
    assert [row.kind for row in chosen] == [runtime.kind]
    assert all(row.agreement == 1.0 and row.ms > 0 for row in rows)
    # Torch eager takes some 100 us a layer; here the others need a tenth of that for the whole net.
    assert runtime.kind != "torch"
    slow = next(row for row in rows if row.kind == "torch")
    assert slow.ms > 2 * chosen[0].ms
    assert "times the fastest" in str(slow)
    assert f"{chosen[0].kind:<12}" in str(chosen[0])
    assert "chosen" in str(chosen[0])


def test_a_net_for_int8_is_not_given_to_torch(relu6_net, pictures, quant):
    net = relu6_net.copy()
    net.quant = quant
    runtime, rows = AutoRuntime(candidates=("torch", "onnxruntime"), threads=1).resolve(net, pictures)
    assert runtime == OnnxRuntime()
    assert [(row.kind, row.ms is None, row.reason) for row in rows if not row.chosen] == [
        ("torch", True, "has no int8")
    ]


def test_a_candidate_that_disagrees_is_left_out(pictures):
    """A net whose logits hang on the last bits: sorted by what rounding does, exports differ."""

    class Chaotic(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return torch.sin(self.layer(x).mean((2, 3)) * 1e9)

    torch.manual_seed(0)
    net = Net(Chaotic(), Preprocess(32), tuple("abcd"))
    with pytest.raises(
        CompressError, match=r"no runtime can run this net \(onnxruntime: disagrees: .*openvino"
    ):
        AutoRuntime(candidates=("onnxruntime", "openvino")).resolve(net, pictures)


def test_a_net_nothing_can_export_says_why(pictures):
    class Odd(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) * float(x.sum())

    net = Net(Odd(), Preprocess(32), tuple("abc"))
    with pytest.raises(
        CompressError, match=r"no runtime can run this net \(torch: fails: cannot be exported"
    ):
        AutoRuntime(candidates=("torch",)).resolve(net, pictures)


def test_threads_reach_the_runtime(relu6_net, pictures):
    runtime, _ = AutoRuntime(candidates=("openvino",), threads=2).resolve(relu6_net, pictures)
    assert runtime == OpenvinoRuntime(threads=2)


def test_times_everywhere_has_every_runtime_there_is(relu6_net, pictures, quant):
    times = times_everywhere(relu6_net, pictures)
    assert list(times) == [cls().kind for cls in installed()]
    assert all(ms > 0 for ms in times.values())
    net = relu6_net.copy()
    net.quant = quant
    assert times_everywhere(net, pictures)["torch"] is None


def test_a_runtime_that_is_not_installed_is_passed_over(tmp_path):
    code = f"""
import sys
sys.modules["openvino"] = None
sys.path.insert(0, {str(ROOT / "tests")!r})
from hurry import hurry
hurry(setattr)
import numpy as np, torch
from torch import nn
from compress.net import Net, Preprocess
from compress.runtimes.auto import AutoRuntime, times_everywhere
module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
net = Net(module, Preprocess(8), tuple("abcd"))
images = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), dtype=np.uint8)
runtime, rows = AutoRuntime(candidates=("openvino", "onnxruntime")).resolve(net, images)
print(runtime.kind, "|", rows[0].reason)
print("openvino" in times_everywhere(net, images))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    want = "onnxruntime | openvino is not installed: pip install openvino\nFalse\n"
    assert done.stdout == want, done.stderr


def test_a_recipe_without_any_candidate_that_can_be_used_is_refused_when_read():
    code = """
import sys
sys.modules["ncnn"] = sys.modules["openvino"] = None
from compress.recipe import Recipe
from compress.runtimes.auto import AutoRuntime
def check(*candidates):
    return Recipe(name="x", runtime=AutoRuntime(candidates=candidates or None)).check()
print(check(), check("ncnn", "onnxruntime"), *check("ncnn", "openvino"), sep="\\n")
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines() == [
        "[]",
        "[]",
        "runtime: none of the candidates can be used: ncnn is not installed: pip install 'beyondnas[ncnn]'; "
        "openvino is not installed: pip install openvino",
        "False",
    ], done.stderr


def test_the_spec():
    assert AutoRuntime.model_validate(AutoRuntime(threads=3).canonical()) == AutoRuntime(threads=3)
    assert by_kind("openvino") is OpenvinoRuntime
    for wrong in ({"candidates": ()}, {"candidates": ("abacus",)}, {"threads": 0}):
        with pytest.raises(ValidationError):
            AutoRuntime(**wrong)


def test_openvino_leaves_no_trace_in_the_home(tmp_path, relu6_net):
    """Its telemetry would write an identifier there, and send a usage event, at import."""
    code = f"""
import torch
from pathlib import Path
from compress.runtimes.openvino_runtime import OpenvinoRuntime
layer = torch.nn.Conv2d(3, 4, 3)
runtime = OpenvinoRuntime()
artifact = runtime.export(layer, torch.zeros(1, 3, 8, 8), Path({str(tmp_path / "a")!r}))
runtime.load(artifact)(torch.zeros(1, 3, 8, 8).numpy())
import sys
assert "openvino" in sys.modules and "openvino_telemetry" not in sys.modules
import openvino_telemetry
"""
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not (home / "intel").exists()


def test_numpy_scalars_do_not_leak_into_the_log(relu6_net, pictures):
    _, rows = AutoRuntime(candidates=("onnxruntime",)).resolve(relu6_net, pictures)
    assert type(rows[0].ms) is float
    assert not isinstance(rows[0].agreement, np.generic)
