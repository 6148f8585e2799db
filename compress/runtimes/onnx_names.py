"""ONNX nodes and values named after the modules they come from, so that profiles and viewers speak the net's
own names; runtimes build the names of what they fuse from these."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

SCOPES = "scopes"  # node metadata: names of the modules a node lies in, comma between


def name_after_modules(proto: onnx.ModelProto) -> None:
    """Call every node ``module.path/OpType``, a repetition ``module.path/OpType_2``, and what it computes
    alike. The names of inputs, outputs and weights stay."""
    graph = proto.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    renamed: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for node in graph.node:
        name = f"{module_of(node)}/{node.op_type}"
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
        for i, value in enumerate(node.input):
            node.input[i] = renamed.get(value, value)
        for i, value in enumerate(node.output):
            if value and value not in kept:
                renamed[value] = node.output[i] = node.name if i == 0 else f"{node.name}:{i}"
    for info in graph.value_info:
        info.name = renamed.get(info.name, info.name)


def module_of(node: onnx.NodeProto) -> str:
    """The innermost module that a node comes from; empty for the net itself."""
    scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "")
    return scopes.rsplit(",", 1)[-1]
