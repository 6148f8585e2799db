"""Which nodes keep clear of int8 when only parts of a net are quantised."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from compress.net import Quant
from compress.runtimes.deploy import Deployed, export_net, parity
from compress.runtimes.onnx_export import to_onnx
from compress.runtimes.onnx_float_nodes import float_nodes
from compress.runtimes.onnx_names import SCOPES
from compress.runtimes.onnx_quantize import to_int8_onnx
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.stages.quantize import Quantize

WEIGHTED = ("Conv", "Gemm")


def graph(*lines: str) -> onnx.ModelProto:
    """Nodes as ``value = Op inputs``, each in a module that is called after its value."""
    nodes, weights = [], []
    for line in lines:
        value, op, *inputs = line.replace("=", "").split()
        if op in WEIGHTED:
            weights.append(helper.make_tensor(f"{value}.weight", TensorProto.FLOAT, [1], [1.0]))
            inputs.append(weights[-1].name)
        nodes.append(helper.make_node(op, inputs, [value], name=value))
        nodes[-1].metadata_props.add(key=SCOPES, value=value)
    return helper.make_model(helper.make_graph(nodes, "g", [], [], weights))


POOL = ("a = Conv images", "pool = MaxPool a", "b = Conv pool", "c = Conv b")
SQUEEZE = (
    "a = Conv images",
    "act = HardSwish a",
    "pool = GlobalAveragePool act",
    "less = Conv pool",
    "relu = Relu less",
    "more = Conv relu",
    "gate = Sigmoid more",
    "product = Mul act gate",
    "b = Conv product",
)
SUM = (
    "a = Conv images",
    "b = Conv a",
    "sum = Add a b",
    "c = Conv sum",
    "again = Add sum c",
    "d = Conv again",
)
SILU = ("a = Conv images", "sigmoid = Sigmoid a", "silu = Mul a sigmoid", "b = Conv silu", "c = Conv b")
HEAD = (
    "a = Conv images",
    "relu = Relu a",
    "pool = GlobalAveragePool relu",
    "view = Flatten pool",
    "fc = Gemm view",
)
ATTENTION = ("k = Conv images", "q = Conv k", "dot = MatMul k q", "soft = Softmax dot", "v = Conv soft")


@pytest.mark.parametrize(
    ("nodes", "exclude", "floats"),
    [
        (POOL, "c", "c"),  # between int8 layers as it was
        (POOL, "a", "a pool"),
        (POOL, "b", "pool b"),
        (SQUEEZE, "less more", "pool less relu more gate product"),
        (SQUEEZE, "a less more", "a pool less relu more gate product"),
        (SUM, "d", "again d"),
        (SUM, "c", "sum c again"),  # float goes on from sum to sum, backward
        (SUM, "b", "b sum again"),  # and forward
        (SILU, "c", "c"),
        (SILU, "b", "sigmoid silu b"),
        (SILU, "a", "a sigmoid silu"),
        (HEAD, "fc", "pool view fc"),  # the ReLU is part of the layer before it
        (HEAD, "a", "a relu pool view"),
        (ATTENTION, "v", "dot soft v"),
        (ATTENTION, "q", "q dot soft"),
    ],
)
def test_what_is_not_between_int8_nodes_stays_float(
    nodes: tuple[str, ...], exclude: str, floats: str
) -> None:
    found = float_nodes(graph(*nodes), tuple(exclude.split()))
    able = [name for name in found if name != "act"]
    assert able == floats.split()


@pytest.mark.parametrize("nodes", [POOL, SQUEEZE, SUM, SILU, HEAD, ATTENTION])
def test_in_the_whole_net_nothing_more_than_what_comes_before_the_first_layer(nodes: tuple[str, ...]) -> None:
    before = ("cast = Cast pixels", "images = Mul cast cast")
    assert float_nodes(graph(*before, *nodes), ()) == ["cast", "images"]


def test_a_relu_that_others_bypass_is_no_part_of_the_layer() -> None:
    nodes = ("a = Conv images", "relu = Relu a", "b = Conv relu", "c = Conv a", "d = Conv a")
    assert float_nodes(graph(*nodes), ("b",)) == ["relu", "b"]
    assert float_nodes(graph(*nodes[:3], "c = Conv b"), ("b",)) == ["b"]


def test_shapes_are_no_activations() -> None:
    """What computes the sides of a view from a float value's shape gives no float value."""
    nodes = (
        "a = Conv images",
        "b = Conv images",
        "shape = Shape b",
        "view = Reshape a shape",
        "c = Conv view",
    )
    proto = graph(*nodes, "d = Conv c")
    proto.graph.value_info.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [4]))
    assert float_nodes(proto, ("b", "d")) == ["b", "d"]


@pytest.fixture(scope="module")
def parts(net, pictures):
    """The float graph, and by each part's words its int8 graph."""
    model, example = Deployed(net.module, net.preprocess), torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    made = {}
    for part in Quantize().parts(net):
        exclude = tuple(f"module.{name}" for name in part.exclude)
        made[part.words] = to_int8_onnx(model, example, Quant(pictures, exclude=exclude)).graph
    return to_onnx(model, example).graph, made


def conversions(graph):
    """Values that come out of a dequantize node, and those that go into a quantize node."""
    given = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    taken = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    return given, taken


def touched(graph, op_type):
    """How many nodes of a type take dequantised values and give values to quantise, take, give, neither."""
    given, taken = conversions(graph)
    return collections.Counter(
        (bool(given & set(node.input)), bool(taken & set(node.output)))
        for node in graph.node
        if node.op_type == op_type
    )


def test_squeezes_and_heads_left_out_are_float_through_and_through(parts):
    float_graph, made = parts
    graph = made["all but heads and squeezes"]
    pools = sum(node.op_type == "GlobalAveragePool" for node in float_graph.node)
    squeezes = pools - 1
    assert not any(gives for _, gives in touched(graph, "GlobalAveragePool"))
    assert touched(graph, "Gemm") == {(False, False): 1}
    assert touched(graph, "Conv") == collections.Counter({(True, True): 7, (False, False): 2 * squeezes})
    products = touched(graph, "Mul")
    assert products[False, True] == 1 + squeezes  # into a convolution; one is the normalisation
    assert products[True, True] == products[True, False] == 0
    assert touched(graph, "Add") == {(True, True): 1}  # of a residual between int8 convolutions


def test_pointwise_convs_alone_leave_the_rest_alone(parts):
    _, made = parts
    graph = made["pointwise convs alone"]
    given, _ = conversions(graph)
    makers = {value: node for node in graph.node for value in node.output}
    weighted = [node for node in graph.node if node.op_type == "Conv"]
    int8 = [node for node in weighted if node.input[1] in given]
    assert len(int8) == 4
    assert touched(graph, "Add") == {(True, True): 1}
    # Whatever is quantised goes into an int8 layer, comes out of one, or is that sum.
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            made_by = makers[node.input[0]]
            back = next(n.output[0] for n in graph.node if n.input and n.input[0] == node.output[0])
            assert made_by in int8 or made_by.op_type == "Add" or any(back in n.input for n in int8)
    assert not any(gives for _, gives in touched(graph, "GlobalAveragePool"))
    assert not any(takes for takes, _ in touched(graph, "Mul"))


def test_the_whole_net_is_quantised_as_ever(parts):
    float_graph, made = parts
    graph = made["the whole net"]
    counted = collections.Counter(node.op_type for node in float_graph.node)
    for op_type in ("GlobalAveragePool", "Add", "Conv", "Gemm"):
        assert touched(graph, op_type) == {(True, True): counted[op_type]}
    assert touched(graph, "Mul")[True, True] == counted["Mul"] - 1  # less the normalisation


def test_parts_predict_as_their_float_net(net, pictures, tmp_path):
    for i, part in enumerate(Quantize().parts(net)[1:]):
        int8 = net.copy()
        int8.quant = Quant(pictures, exclude=part.exclude)
        found = parity(int8, OnnxRuntime(), export_net(int8, OnnxRuntime(), tmp_path / str(i)), pictures)
        assert found.agreement >= 0.75
        assert 0 < found.max_difference < np.inf
