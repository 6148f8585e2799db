"""What the exported graphs look like: no wasted nodes, int8 where it belongs."""

import collections

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compress.errors import CompressError
from compress.net import Preprocess, Quant
from compress.ops.ranges import Histogram, keep
from compress.runtimes.deploy import Deployed, export_net, parity
from compress.runtimes.onnx_export import SCOPES, _activations_out_of_place, exported_program, to_onnx
from compress.runtimes.onnx_quantize import to_int8_onnx
from compress.runtimes.onnxruntime_runtime import OnnxRuntime


def ops(proto):
    return collections.Counter(node.op_type for node in proto.graph.node)


@pytest.fixture(scope="module")
def example():
    return torch.zeros(1, 32, 32, 3, dtype=torch.uint8)


@pytest.fixture(scope="module")
def graph(net, example):
    return to_onnx(Deployed(net.module, net.preprocess), example)


def test_one_node_a_layer(net, graph):
    found = ops(graph)
    onnx.checker.check_model(graph)
    assert found["Conv"] == sum(isinstance(m, nn.Conv2d) for m in net.module.modules())
    assert found["GlobalAveragePool"] == sum(
        isinstance(m, nn.AdaptiveAvgPool2d) for m in net.module.modules()
    )
    assert found["HardSwish"] == sum(isinstance(m, nn.Hardswish) for m in net.module.modules())
    assert found["Gemm"] == 1
    wasted = {
        "BatchNormalization",
        "Gather",
        "Shape",
        "Range",
        "Unsqueeze",
        "ReduceMean",
        "Dropout",
        "Identity",
    }
    assert not wasted & set(found), found
    assert graph.graph.input[0].name == "images"
    assert [d.dim_param or d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        32,
        32,
        3,
    ]


def test_nodes_know_their_modules(graph):
    scopes = {
        p.value for n in graph.graph.node if n.op_type == "Conv" for p in n.metadata_props if p.key == SCOPES
    }
    assert any(s.split(",")[-1] == "module.0.0" for s in scopes)
    assert any("module.1.layers.1" in s.split(",") for s in scopes)


def test_the_same_net_gives_the_same_bytes(net, graph, example):
    again = to_onnx(Deployed(net.module, net.preprocess), example)
    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(deterministic=True)


@pytest.mark.parametrize("kind", [nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.LeakyReLU])
def test_activations_in_place_give_the_same_bytes_as_out_of_place(kind, example):
    def graph(inplace):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            kind(inplace=inplace),
            nn.Conv2d(4, 4, 3),
            kind(inplace=inplace),
        )
        return to_onnx(Deployed(net.eval(), Preprocess(32)), example).SerializeToString(deterministic=True)

    assert graph(True) == graph(False)


def test_the_exporter_sees_no_activation_in_place():
    """It would take each of them apart, in far more time than the rest of the export."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(inplace=True), nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True))
    program = exported_program(net.eval(), torch.zeros(1, 3, 8, 8))

    def in_place():
        calls = [node for node in program.graph.nodes if node.op == "call_function"]
        return [node.name for node in calls if node.target.__name__.split(".")[0].endswith("_")]

    assert len(in_place()) == 2
    _activations_out_of_place(program)
    assert not in_place()


def residual_of_what_was_overwritten(x):
    return x + x.relu_()


def view_overwritten(x):
    x.flatten(1).relu_()
    return x


def view_of_what_is_overwritten(x):
    view = x.flatten(1)
    x.relu_()
    return view


def half_overwritten(x):
    first, _ = x.chunk(2, 1)
    nn.functional.hardtanh_(first, 0.0, 0.1)
    return x


def overwritten_twice(x):
    return nn.functional.hardtanh_(x.relu_().mul_(3), 0.1, 0.5)


def by_another(x):
    return x.mul_(x.abs())


@pytest.mark.parametrize(
    "change",
    [
        residual_of_what_was_overwritten,
        view_overwritten,
        view_of_what_is_overwritten,
        half_overwritten,
        overwritten_twice,
        by_another,
    ],
)
def test_what_is_overwritten_and_read_again_stays_overwritten(change):
    import onnxruntime

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return change(self.conv(x)) * 2

    net, x = Net().eval(), torch.randn(3, 3, 6, 6)
    got = onnxruntime.InferenceSession(to_onnx(net, x).SerializeToString()).run(None, {"images": x.numpy()})
    with torch.no_grad():
        assert np.allclose(got[0], net(x).numpy(), atol=1e-6)


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("dims", [(2, 3), (-1, -2), (1, 2)])
def test_means_become_pools_only_where_they_are(keepdim, dims):
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(dims, keepdim=keepdim) * 2

    proto = to_onnx(Mean(), torch.zeros(1, 3, 4, 5))
    assert bool(ops(proto)["GlobalAveragePool"]) == (keepdim and dims != (1, 2))
    import onnxruntime

    x = np.random.default_rng(0).random((2, 3, 4, 5), dtype=np.float32)
    got = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"images": x})[0]
    assert np.allclose(got, 2 * x.mean(tuple(d % 4 for d in dims), keepdims=keepdim), atol=1e-6)


def test_other_adaptive_pools_stay_right():
    import onnxruntime

    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    proto = to_onnx(net, torch.zeros(1, 3, 8, 8))
    x = torch.rand(3, 3, 8, 8)
    got = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"images": x.numpy()})[0]
    assert np.allclose(got, net(x).numpy(), atol=1e-6)


def test_what_cannot_be_exported_is_one_line():
    class Odd(nn.Module):
        def forward(self, x):
            return x * float(x.sum())

    with pytest.raises(CompressError, match="cannot be exported") as caught:
        to_onnx(Odd(), torch.zeros(1, 3, 4, 4))
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def int8_graph(relu6_net, example, quant):
    return to_int8_onnx(Deployed(relu6_net.module, relu6_net.preprocess), example, quant)


def dequantised(proto):
    """Names of the values that come out of a dequantize node, and the initializers, by name."""
    outputs = {n.output[0]: n for n in proto.graph.node if n.op_type == "DequantizeLinear"}
    return outputs, {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}


def test_every_weighted_layer_is_int8_per_channel_and_symmetric(int8_graph):
    made, values = dequantised(int8_graph)
    layers = [n for n in int8_graph.graph.node if n.op_type in ("Conv", "Gemm")]
    assert len(layers) == 8
    for layer in layers:
        activation, weight = made[layer.input[0]], made[layer.input[1]]
        stored, scale, zero = (values[name] for name in weight.input)
        assert stored.dtype == np.int8
        assert scale.shape == (stored.shape[0],)
        assert not zero.any()
        assert np.abs(stored.astype(int)).max() <= 127
        assert values[activation.input[2]].dtype == np.uint8
        assert values[activation.input[1]].shape == ()


def test_relu6_costs_nothing_and_the_normalisation_stays_float(int8_graph):
    found = ops(int8_graph)
    assert found["Clip"] == 0
    made, _ = dequantised(int8_graph)
    for node in int8_graph.graph.node:
        if node.op_type in ("Sub", "Mul", "Cast", "Transpose"):
            assert not set(node.input) & set(made), f"{node.op_type} is quantised"


def test_excluded_modules_stay_float(relu6_net, example, pictures):
    model = Deployed(relu6_net.module, relu6_net.preprocess)
    proto = to_int8_onnx(model, example, Quant(pictures, exclude=("module.1.layers", "module.8")))
    made, values = dequantised(proto)
    floats = []
    for node in proto.graph.node:
        if node.op_type in ("Conv", "Gemm") and node.input[1] not in made:
            assert values[node.input[1]].dtype == np.float32
            floats.append(values[node.input[1]].shape)
    assert sorted(floats) == sorted([(32, 16, 1, 1), (32, 1, 3, 3), (16, 32, 1, 1), (4, 24)])


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize("images", [5, 24, 64])
def test_every_calibration_method_and_number_of_images(relu6_net, pictures, method, images, tmp_path):
    net = relu6_net.copy()
    net.quant = Quant(np.resize(pictures, (images, 32, 32, 3)), method)
    found = parity(net, OnnxRuntime(), export_net(net, OnnxRuntime(), tmp_path / "q"), pictures)
    assert found.agreement >= 0.7


def activation_scales(proto):
    """Scale and zero point of everything that is uint8, by the value that is quantised."""
    _, values = dequantised(proto)
    nodes = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    return {n.input[0]: [values[name].item() for name in n.input[1:]] for n in nodes}


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_every_image_counts_wherever_it_stands(relu6_net, example, pictures, method):
    """Photos of a folder lie class by class: what comes first must not be forgotten."""
    images = np.concatenate([np.repeat(pictures, 4, axis=0) // 4, pictures])  # 120, the last ones brightest
    model = Deployed(relu6_net.module, relu6_net.preprocess)
    first, last = (
        activation_scales(to_int8_onnx(model, example, Quant(some, method)))
        for some in (images[::-1], images)
    )
    assert first.keys() == last.keys()
    for name, found in first.items():
        assert found == pytest.approx(last[name], rel=1e-4)


class Tailed(nn.Module):
    """Two convolutions; of the first one's input, every 400th value is twenty times the others."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.last(self.first(images.permute(0, 3, 1, 2).float() / 255)).mean((2, 3))


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_ranges_are_those_that_training_as_int8_takes(method):
    torch.manual_seed(0)
    net = Tailed().eval()
    images = np.random.default_rng(0).integers(0, 12, (40, 20, 20, 3)).astype(np.uint8)
    images[:, 7, 7] = 240
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    inputs = {"first": x, "last": net.first(x).detach()}
    found = activation_scales(to_int8_onnx(net, torch.from_numpy(images[:1]), Quant(images, method)))
    scales = sorted(scale for scale, _ in found.values())
    for values in inputs.values():
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        histogram = Histogram(low, high)
        histogram.add(values)
        low, high = keep(histogram, method)
        assert any(scale == pytest.approx((high - low) / 255, rel=1e-3) for scale in scales)
    if method == "entropy":
        assert scales[0] < 240 / 255 / 255 / 3  # the few large ones are cut off


def test_normalisation_equals_the_preprocess(pictures):
    preprocess = Preprocess(32, (0.1, 0.5, 0.9), (0.2, 0.3, 0.4))
    got = Deployed(nn.Identity(), preprocess)(torch.from_numpy(pictures))
    want = preprocess.normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    assert torch.allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("size", [64, 224])
def test_the_mean_of_a_large_map_is_exact(size: int) -> None:
    """A pool that adds pixel after pixel in float32 would be further off at 224 x 224."""
    import onnxruntime as ort

    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = nn.Conv2d(3, 16, 3, padding=1), nn.AdaptiveAvgPool2d(1)

        def forward(self, images):
            return self.pool(self.conv(images.permute(0, 3, 1, 2) / 255)).flatten(1)

    torch.manual_seed(0)
    net = Squeezed().eval()
    images = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    proto = to_onnx(net, images)
    assert bool(ops(proto)["GlobalAveragePool"]) == (size == 64)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        exact = net.conv.double()((images.permute(0, 3, 1, 2) / 255).double()).mean((2, 3)).numpy()
    (found,) = session.run(None, {"images": images.numpy()})
    assert np.abs(found - exact).max() < 2e-5 * np.abs(exact).max()
