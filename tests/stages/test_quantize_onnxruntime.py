"""Quantize and fake_quantized against the int8 nets ONNX Runtime really runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from tinynet import TorchBench
from torch import nn

from compress.data.images import ImageSet
from compress.errors import CompressError
from compress.net import Net, Quant
from compress.ops.fakequant import fake_quantized
from compress.ops.fold import fold_batchnorm
from compress.ops.surgery import is_under, layer_calls
from compress.runtimes.base import Artifact
from compress.runtimes.deploy import Deployed, export_net
from compress.runtimes.onnx_names import module_of
from compress.runtimes.onnx_quantize import to_int8_onnx
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.stages.base import Context, Plan, Ratio
from compress.stages.quantize import Quantize
from compress.stages.training import train_net

pytest.importorskip("onnxruntime")
_RUNTIME = OnnxRuntime()


class OrtBench(TorchBench):
    """F1 and time of nets exported to ONNX Runtime and loaded back."""

    runtime = "onnxruntime"
    int8 = True

    def __init__(self, work: Path) -> None:
        super().__init__(rounds=40)
        self.work = work
        self.artifacts: dict[tuple[object, ...], tuple[Net, Artifact]] = {}

    def load(self, net: Net, batch: int | None = None) -> Callable[[np.ndarray], np.ndarray]:
        key = (id(net.module), net.quant and (net.quant.method, net.quant.exclude))
        if key not in self.artifacts:  # the net beside it keeps the id taken
            made = export_net(net, _RUNTIME, self.work / f"artifact-{len(self.artifacts)}")
            self.artifacts[key] = net, made
        artifact = self.artifacts[key][1]
        assert artifact.meta["int8"] == (net.quant is not None)
        return _RUNTIME.load(artifact, batch)

    def ratio(self, candidate: Net, reference: Net) -> Ratio:
        image = np.zeros((1, *[reference.preprocess.size] * 2, 3), np.uint8)
        a, b = self.load(candidate, 1), self.load(reference, 1)
        return self._ratio(lambda: torch.from_numpy(a(image)), lambda: torch.from_numpy(b(image)))

    def f1(self, net: Net, data: ImageSet) -> float:
        return float(f1_score(data.targets, self.load(net)(data.images).argmax(1), average="macro"))


@pytest.fixture
def ort(learned_ctx: Context, tmp_path: Path) -> Context:
    return replace(learned_ctx, bench=OrtBench(tmp_path))


def inputs(net: Net, images: np.ndarray) -> torch.Tensor:
    return net.preprocess.normalise(torch.from_numpy(images).permute(0, 3, 1, 2))


@pytest.mark.parametrize("exclude", [(), ("head.3", "block1")])
def test_fake_quantised_net_predicts_as_the_exported_one(
    exclude: tuple[str, ...], learned_net: Net, ort: Context, tmp_path: Path
) -> None:
    folded = replace(learned_net, module=fold_batchnorm(learned_net.module, learned_net.example()))
    fake = copy.deepcopy(folded.module)
    x = inputs(folded, ort.tune.images)
    with fake_quantized(fake, inputs(folded, ort.calib.images), exclude=exclude), torch.no_grad():
        want = fake(x).numpy()
    quantised = replace(folded, quant=Quant(ort.calib.images, "minmax", exclude))
    got = ort.bench.load(quantised)(ort.tune.images)
    with torch.no_grad():
        floats = folded.module(x).numpy()
    assert (got.argmax(1) == want.argmax(1)).mean() > 0.95
    # Both lie about as far from float; ONNX Runtime also quantises the sums between the layers.
    assert 0 < np.abs(got - floats).mean() < 3 * np.abs(want - floats).mean()
    assert np.abs(got - want).mean() < 1.5 * np.abs(want - floats).mean()


class Unit(nn.Conv2d):
    """Divides its filters by their norms, so that no scale can be folded into them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight / self.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return self._conv_forward(x, weight, self.bias)


def with_unit_stem(net: Net) -> Net:
    """The same function, with a stem whose batch norm cannot be folded."""
    conv, norm = net.module.stem[:2]
    unit = Unit(3, 16, 3, padding=1, bias=False)
    unit.load_state_dict(conv.state_dict())
    norms = conv.weight.detach().flatten(1).norm(dim=1)
    norm.running_mean /= norms
    norm.running_var /= norms**2
    net.module.stem[0] = unit
    return net


def test_a_net_whose_norms_cannot_be_folded_is_int8_as_well(learned_net: Net, ort: Context) -> None:
    net = with_unit_stem(learned_net)
    with pytest.raises(CompressError, match="folding batch norms changed"):
        fold_batchnorm(net.module, net.example())
    stage = Quantize(samples=64, mode="static", fallback=False)
    plan = stage.plan(net, ort)
    assert plan.skip is None
    int8 = stage.apply(net.copy(), plan, ort)
    train_net(int8, ort, epochs=2)
    x = inputs(net, ort.tune.images)
    fake = copy.deepcopy(int8.module)
    with torch.no_grad():
        floats = int8.module(x).numpy()
        with fake_quantized(fake, inputs(net, int8.quant.images)):
            want = fake(x).numpy()
    got = ort.bench.load(int8)(ort.tune.images)
    assert (got.argmax(1) == ort.tune.targets).mean() > 0.85
    assert (got.argmax(1) == want.argmax(1)).mean() > 0.95
    assert 0 < np.abs(got - floats).mean() < 0.1 * np.abs(floats).mean()
    assert np.abs(got - want).mean() < 1.5 * np.abs(want - floats).mean()


@pytest.mark.parametrize(("flags", "top"), [({"avx2"}, 64), ({"avx2", "avx512_vnni"}, 127)])
def test_training_as_int8_feels_the_weights_that_are_exported(
    flags: set[str], top: int, learned_net: Net, ort: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On processors without VNNI weights have 7 bits."""
    from onnx import numpy_helper

    monkeypatch.setattr("compress.ops.cpu.cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr("compress.ops.cpu.platform", SimpleNamespace(machine=lambda: "x86_64"))
    net = replace(learned_net, module=fold_batchnorm(learned_net.module, learned_net.example()))
    layers = [call.name for call in layer_calls(net.module, net.example())]
    with fake_quantized(net.module, inputs(net, ort.calib.images)):
        felt = {name: net.module.get_submodule(name).weight.detach().numpy() for name in layers}

    example = torch.zeros(1, *ort.calib.images.shape[1:], dtype=torch.uint8)
    deployed = Deployed(net.module, net.preprocess)
    graph = to_int8_onnx(deployed, example, Quant(ort.calib.images)).graph
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert {module_of(node) for node in weighted} == {f"module.{name}" for name in layers}
    for node in weighted:
        stored, scale = (values[name] for name in makers[node.input[1]].input[:2])
        assert np.abs(stored.astype(int)).max() == top
        exported = stored * scale.reshape(-1, *[1] * (stored.ndim - 1))
        assert np.allclose(felt[module_of(node).removeprefix("module.")], exported, rtol=1e-5, atol=0)


def test_exclude_names_reach_the_exported_graph(learned_net: Net, ort: Context, tmp_path: Path) -> None:
    import onnx

    exclude = ("stem", "block2.body.1")
    stage = Quantize(exclude=exclude, samples=8)
    net = stage.apply(learned_net.copy(), Plan(what={"method": "minmax", "exclude": list(exclude)}), ort)
    artifact = export_net(net, _RUNTIME, tmp_path / "int8")
    graph = onnx.load(artifact.path / artifact.meta["file"]).graph
    weights = [i for i in graph.initializer if i.data_type == onnx.TensorProto.INT8 and len(i.dims) > 1]
    layers = [c.name for c in layer_calls(net.module, net.example()) if not is_under(c.name, exclude)]
    assert len(weights) == len(layers) == 7


def test_the_decision_is_the_one_the_figures_give(learned_net: Net, ort: Context) -> None:
    stage = Quantize(samples=16, mode="static")
    plan = stage.plan(learned_net, ort)
    assert plan.measured
    if plan.skip is not None:  # fp32 of a net this small is often the faster
        assert "the time of fp32 in onnxruntime" in plan.skip or "loses" in plan.skip
        assert not plan.what
    else:
        net = stage.apply(learned_net.copy(), plan, ort)
        lost = ort.bench.f1(learned_net, ort.tune) - ort.bench.f1(net, ort.tune)
        assert lost <= stage.max_drop


class Dense(nn.Module):
    """Wide dense convolutions: where int8 kernels pay on any processor that has them."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 128, 3, stride=2, padding=1), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def test_wide_dense_convs_are_quantised_where_the_processor_can(ort: Context) -> None:
    from compress.measure.machine import cpu_flags

    if not cpu_flags() & {"avx512_vnni", "avx_vnni"}:
        pytest.skip("this processor has no VNNI, so int8 may well be slower")
    torch.manual_seed(0)
    small = ort.baseline.preprocess
    net = Net(Dense().eval(), replace(small, size=32), ort.baseline.labels)

    def twice(data: ImageSet) -> ImageSet:
        return replace(data, images=data.images.repeat(2, axis=1).repeat(2, axis=2))

    ctx = replace(ort, tune=twice(ort.tune), calib=twice(ort.calib))
    plan = Quantize(max_drop=1.0, samples=16).plan(net, ctx)
    assert plan.skip is None, plan.skip
    assert plan.what["exclude"] == []
