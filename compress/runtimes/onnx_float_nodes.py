"""Which nodes stay float when a graph is quantised: those left out, and those where int8 would only cost."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from compress.runtimes.onnx_names import SCOPES

if TYPE_CHECKING:
    import onnx

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FUSED = ("Relu", "Clip")  # an int8 range that ends where they cut does their work


def float_nodes(proto: onnx.ModelProto, exclude: tuple[str, ...]) -> list[str]:
    """Names of the nodes to leave in float.

    These are the nodes before the first weighted layer (layout, normalisation) and those that come from the
    modules ``exclude``. Where there are such modules, also every sum, product, pool or other node without
    weights that does not lie between int8 nodes: one that takes a float value, or gives only to float nodes.
    An int8 kernel takes and gives int8 alone, so around such a node stood conversions that cost more than
    it saves. A ReLU right after an int8 node is part of that, whoever reads it.
    """
    left = {*_before_weights(proto), *_inside(proto, exclude)}
    if exclude:
        left |= _not_between(proto.graph, left)
    return [node.name for node in proto.graph.node if node.name in left]


def _not_between(graph: onnx.GraphProto, left: set[str]) -> set[str]:
    """Names of the nodes without weights that do not lie between int8 nodes, when ``left`` stay float."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    able = {*QDQRegistry, *QLinearOpsRegistry}  # operators of other types have no int8 kernel
    maker = {value: node.name for node in graph.node for value in node.output}
    readers: defaultdict[str, set[str]] = defaultdict(set)
    for node in graph.node:
        for value in node.input:
            readers[value].add(node.name)
    fixed = _fixed(graph)
    candidates = [node for node in graph.node if node.op_type in able and node.name not in left]
    weightless = [node for node in candidates if not _has_weights(node, fixed)]

    def between(node: onnx.NodeProto) -> bool:
        made = [maker.get(value) for value in node.input if value and value not in fixed]
        read = set().union(*(readers[value] for value in node.output))
        return bool(made) and all(name in int8 for name in made) and not int8.isdisjoint(read)

    int8 = {node.name for node in candidates}
    while out := {node.name for node in weightless if node.name in int8 and not between(node)}:
        int8 -= out  # which may leave others without an int8 neighbour
    fused = {
        node.name
        for node in weightless
        if node.op_type in _FUSED and maker.get(node.input[0]) in int8 and len(readers[node.input[0]]) == 1
    }
    return {node.name for node in weightless} - int8 - fused


def _fixed(graph: onnx.GraphProto) -> set[str]:
    """Names of the values that are no activations: weights, constants, shapes and other integers."""
    import onnx

    weights = {i.name for i in graph.initializer}
    constants = {value for node in graph.node if node.op_type == "Constant" for value in node.output}
    integers = {v.name for v in graph.value_info if v.type.tensor_type.elem_type != onnx.TensorProto.FLOAT}
    return weights | constants | integers


def _has_weights(node: onnx.NodeProto, fixed: set[str]) -> bool:
    """A product of two activations (attention) has none."""
    return node.op_type in _WEIGHTED and not fixed.isdisjoint(node.input)


def _before_weights(proto: onnx.ModelProto) -> list[str]:
    """Names of the nodes with no weighted layer upstream; weighted ones themselves not."""
    after: set[str] = set()  # values with a weighted layer upstream
    before = []
    for node in proto.graph.node:  # in topological order
        if node.op_type in _WEIGHTED or any(name in after for name in node.input):
            after.update(node.output)
        else:
            before.append(node.name)
    return before


def _inside(proto: onnx.ModelProto, exclude: tuple[str, ...]) -> list[str]:
    """Names of the nodes that come from the modules ``exclude`` or from modules inside them."""
    wanted = set(exclude)
    names = []
    for node in proto.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "")
        if wanted & set(scopes.split(",")):
            names.append(node.name)
    return names
