"""A module as one ONNX graph with a free batch, the form ONNX Runtime and OpenVINO both start from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError
from compress.runtimes.onnx_names import SCOPES as SCOPES
from compress.runtimes.onnx_names import name_after_modules

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn
    from torch.export import ExportedProgram

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
_LARGE = 64 * 64  # pixels


def to_onnx(model: nn.Module, example: Tensor) -> onnx.ModelProto:
    """Export ``model`` (left as it is) in eval mode, batch norms folded, weights inside.

    The input is ``images``, the output ``logits``, their first dimension ``batch``. Of the exporter's
    metadata only the modules each node comes from are kept (``SCOPES``); nodes are named after them.

    Args:
        example: an input with any batch, at least 1.

    Raises:
        CompressError: the model cannot be exported with a free batch; the first line of the reason.
    """
    import torch

    from compress.ops.fold import folded

    with quiet():
        program = exported_program(folded(model, example), example)
        _activations_out_of_place(program)
        _global_pools_to_means(program)
        try:
            made = torch.onnx.export(
                program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False, optimize=True
            )
        except Exception as error:  # the exporter raises a dozen kinds
            raise CompressError(f"cannot be exported to ONNX: {first_line(error)}") from error
        assert made is not None
        proto: onnx.ModelProto = made.model_proto
    _means_to_global_pools(proto)
    _tidy(proto)
    return proto


def exported_program(model: nn.Module, example: Tensor) -> ExportedProgram:
    """``torch.export`` with a free batch.

    Raises:
        CompressError: it cannot be traced, or fixes its batch.
    """
    import torch

    two = torch.cat([example[:1], example[:1]])  # an example of one image would fix the batch at 1
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(model, (two,), dynamic_shapes=({0: torch.export.Dim(BATCH)},))
    except Exception as error:  # dynamo, sympy and user code each raise their own
        raise CompressError(f"cannot be exported with a free batch: {first_line(error)}") from error
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # source lines and paths of this machine
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' warnings and log lines."""
    names = (
        "torch.onnx",
        "torch.export",
        "torch._export",
        "torch.fx",
        "torch._dynamo",
        "torch.utils.cpp_extension",
        "onnxscript",
        "onnx_ir",
        "",
    )
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def first_line(error: BaseException) -> str:
    """What an exporter's page-long message says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _activations_out_of_place(program: ExportedProgram) -> None:
    """``relu6_(conv(x))`` to ``relu6(conv(x))``, where nothing else reads what is overwritten.

    The graph that comes of it is the same to the byte, without the exporter's long way round: it takes a
    clamp in place apart in Python first.
    """
    import torch

    aten = torch.ops.aten
    fresh = {  # what they return is no view of anything
        aten.conv2d.default,
        aten.linear.default,
        aten.batch_norm.default,
        aten.add.Tensor,
        aten.mul.Tensor,
    }
    for node in program.graph.nodes:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
            continue
        packet, _, overload = target.__name__.partition(".")
        plain = getattr(aten, packet[:-1], None) if packet.endswith("_") else None
        if plain is None or overload not in plain.overloads() or len(node.all_input_nodes) != 1:
            continue
        (made,) = node.all_input_nodes
        if made.target in fresh and len(made.users) == 1:
            node.target = getattr(plain, overload)
    program.graph_module.recompile()


def _global_pools_to_means(program: ExportedProgram) -> None:
    """The exporter decomposes a 1 x 1 adaptive pool with a free batch into gathers; a mean stays one node."""
    import torch

    aten = torch.ops.aten
    graph = program.graph
    for node in list(graph.nodes):
        if node.target == aten.adaptive_avg_pool2d.default and list(node.args[1]) == [1, 1]:
            with graph.inserting_before(node):
                mean = graph.call_function(aten.mean.dim, (node.args[0], [-2, -1], True))
            mean.meta = dict(node.meta)
            node.replace_all_uses_with(mean)
            graph.erase_node(node)
    program.graph_module.recompile()


def _means_to_global_pools(proto: onnx.ModelProto) -> None:
    """Over height and width they are equal, and runtimes keep their blocked layouts through the pool.

    Not of large maps: ONNX Runtime's pool adds pixel after pixel in float32 and loses digits.
    """
    from onnx import numpy_helper

    shapes = _shapes(proto)
    axes = {i.name: i for i in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in axes:
            continue
        over = sorted(int(axis) % 4 for axis in numpy_helper.to_array(axes[node.input[1]]).ravel())
        keepdims = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        shape = shapes.get(node.input[0], ())
        small = len(shape) == 4 and shape[2] * shape[3] <= _LARGE
        if small and over == [2, 3] and keepdims == 1:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
            del node.input[1:]


def _shapes(proto: onnx.ModelProto) -> dict[str, list[int]]:
    """By name, as far as they are known; a free dimension is 0."""
    values = [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]
    types = {v.name: v.type.tensor_type for v in values}
    return {
        name: [dim.dim_value for dim in kind.shape.dim]
        for name, kind in types.items()
        if kind.HasField("shape")
    }


def _tidy(proto: onnx.ModelProto) -> None:
    """Name the batch; keep the modules of each node, and none of the exporter's other notes."""
    import ast

    graph = proto.graph
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param  # a symbol's made-up name
    if not batch:
        raise CompressError("cannot be exported with a free batch: the graph fixes it")
    for value in [*graph.value_info, *graph.input, *graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = dim.dim_param.replace(batch, BATCH)
    used = {name for node in graph.node for name in node.input}
    for unused in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(unused)
    for node in graph.node:
        found = {p.key: p.value for p in node.metadata_props}
        scopes = ast.literal_eval(found.get("pkg.torch.onnx.name_scopes", "[]"))
        node.doc_string = ""
        _set_metadata(node, {SCOPES: ",".join(s for s in scopes[:-1] if s)} if scopes else {})
    for item in [*graph.value_info, *graph.input, *graph.output, *graph.initializer, proto, graph]:
        _set_metadata(item, {})
    name_after_modules(proto)


def _set_metadata(item: Any, content: dict[str, str]) -> None:
    del item.metadata_props[:]
    for key, value in content.items():
        item.metadata_props.add(key=key, value=value)
