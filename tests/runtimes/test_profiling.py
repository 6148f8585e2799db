"""Each runtime's own times by layer, under the net's own names."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compress.errors import InputError
from compress.net import Net, Preprocess
from compress.runtimes.deploy import export_net
from compress.runtimes.ncnn_runtime import NcnnRuntime
from compress.runtimes.onnx_export import to_onnx
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.openvino_runtime import OpenvinoRuntime
from compress.runtimes.profiling import UNATTRIBUTED, has_profiler, profile, without_profiler
from compress.runtimes.torch_runtime import TorchRuntime

PROFILED = ("onnxruntime", "openvino", "torch")


@pytest.fixture(scope="module")
def image():
    return np.zeros((1, 32, 32, 3), np.uint8)


def test_layers_carry_the_modules_names(net, artifact, runtime, image):
    if runtime.kind not in PROFILED:
        pytest.skip(f"{runtime.kind} has no profiler")
    times = profile(runtime, artifact, image, runs=10)
    modules = dict(net.module.named_modules())
    assert {time.name for time in times} <= set(modules)
    timed = {time.name for time in times if time.kind == "conv"}
    assert timed == {name for name, m in modules.items() if isinstance(m, nn.Conv2d)}
    assert {time.name for time in times if time.kind == "linear"} == {"8"}
    assert all(time.ms > 0 for time in times)
    assert sum(time.share for time in times) == pytest.approx(1)
    assert not {time.kind for time in times if time.name} & {UNATTRIBUTED}
    squeezed = any(isinstance(m, nn.Hardsigmoid) for m in modules.values())
    assert any(time.kind == "mul" and time.name == "1.layers.2" for time in times) == squeezed


def test_int8_layers_keep_their_names(relu6_net, quant, tmp_path, image):
    from dataclasses import replace

    runtime = OnnxRuntime()
    artifact = export_net(replace(relu6_net, quant=quant), runtime, tmp_path / "int8")
    times = profile(runtime, artifact, image, runs=10)
    modules = dict(relu6_net.module.named_modules())
    convs = {name for name, m in modules.items() if isinstance(m, nn.Conv2d)}
    assert {time.name for time in times if time.kind == "conv"} == convs
    assert {time.name for time in times} <= set(modules)


@pytest.mark.parametrize("made", [OnnxRuntime(), OpenvinoRuntime(), TorchRuntime()], ids=PROFILED)
def test_the_slow_layer_is_found(made, tmp_path):
    """A dense 3x3 of 36 million multiply-accumulates among small ones."""
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 64, 1), nn.Conv2d(64, 128, 3, 1, 1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 4),
    ).eval()  # fmt: skip
    net = Net(module, Preprocess(64), tuple("abcd"))
    artifact = export_net(net, made, tmp_path / "net")
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    times = profile(made, artifact, pixels, runs=20)
    slowest = max(times, key=lambda time: time.ms)
    assert (slowest.name, slowest.kind) == ("3", "conv")
    assert slowest.share > 0.4
    total = sum(time.ms for time in times)
    whole = profile(made, artifact, pixels, runs=20, whole_ms=10 * total)
    assert whole[-1].kind == UNATTRIBUTED
    assert sum(time.ms for time in whole) == pytest.approx(10 * total)
    short = profile(made, artifact, pixels, runs=20, whole_ms=0.5 * total)
    assert sum(time.ms for time in short) == pytest.approx(0.5 * total, rel=1e-6)
    assert short[-1].ms == pytest.approx(0, abs=1e-9)
    assert sum(time.watched_ms for time in short) > 0.6 * total


def test_what_has_no_profiler_says_so(tmp_path, artifact):
    assert not has_profiler(NcnnRuntime())
    assert not has_profiler(TorchRuntime(compile=True))
    assert has_profiler(OnnxRuntime())
    if NcnnRuntime().missing() is None:
        with pytest.raises(InputError, match=r"ncnn has no profiler here; those with one: onnxruntime"):
            profile(NcnnRuntime(), artifact, np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="compile"):
        profile(TorchRuntime(compile=True), artifact, np.zeros((1, 32, 32, 3), np.uint8))


@given(
    st.lists(st.tuples(st.floats(0.001, 5), st.integers(1, 4)), min_size=1, max_size=20), st.floats(0.1, 3)
)
def test_the_same_is_taken_off_every_kernel(layers, part):
    ms, kernels = np.array([m for m, _ in layers]), np.array([k for _, k in layers])
    whole = part * ms.sum()
    left = without_profiler(ms, kernels, whole)
    assert (left <= ms).all()
    assert (left >= ms / 20 - 1e-12).all()
    assert left.sum() == pytest.approx(min(whole, ms.sum()), rel=1e-6)
    above = left > ms / 20 * (1 + 1e-9)
    each = ((ms - left) / kernels)[above]
    assert np.allclose(each, each[:1], atol=1e-9)
    if part >= 1:
        assert np.array_equal(left, ms)


def test_onnx_nodes_and_values_are_called_after_their_modules():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(torch.relu(self.conv(x))) + x

    proto = to_onnx(Twice(), torch.zeros(1, 3, 4, 4))
    onnx.checker.check_model(proto)
    nodes = proto.graph.node
    assert [node.name for node in nodes] == ["conv/Conv", "/Relu", "conv/Conv_2", "/Add"]
    assert [node.output[0] for node in nodes] == ["conv/Conv", "/Relu", "conv/Conv_2", "logits"]
    assert nodes[1].input[0] == "conv/Conv"
    weights = {i.name for i in proto.graph.initializer}
    assert weights == {"conv.weight", "conv.bias"}
    assert {info.name for info in proto.graph.value_info} <= {node.output[0] for node in nodes} | weights


def test_what_only_the_first_calls_ran_is_no_layer(monkeypatch, artifact, runtime, image):
    if runtime.kind not in PROFILED:
        pytest.skip(f"{runtime.kind} has no profiler")
    from compress.runtimes import profiling

    own = profiling._profilers()[runtime.kind]

    def with_first(*given):
        layers = own(*given)
        return layers | {("weights", "reorder"): profiling.Watched(np.array([5.0, *[0.0] * 9]), 0)}

    monkeypatch.setattr(profiling, "_profilers", lambda: {runtime.kind: with_first})
    times = profile(runtime, artifact, image, runs=10)
    assert "weights" not in {time.name for time in times}
    assert all(time.ms > 0 for time in times)
