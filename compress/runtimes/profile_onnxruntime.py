"""ONNX Runtime's profiler: one JSON event a kernel and call."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.runtimes.folder import Artifact
from compress.runtimes.onnx_names import module_of
from compress.runtimes.profiling import CUT_OFF, WARM_UP, Layers, by_run, kind_of, module_in

if TYPE_CHECKING:
    import onnx

    from compress.runtimes.onnxruntime_runtime import OnnxRuntime

_FUSING = ("conv", "linear", "add", "pool")  # kinds of kernels that also do what follows them


def profile(runtime: OnnxRuntime, artifact: Artifact, image: np.ndarray, runs: int) -> Layers:
    """See ``compress.runtimes.profiling.profile``."""
    import onnx

    from compress.runtimes.onnx_export import INPUT, OUTPUT

    file = artifact.path / artifact.meta["file"]
    with tempfile.TemporaryDirectory() as folder:
        options = runtime.session_options(1)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        session = runtime.session(file, options)
        for _ in range(WARM_UP + runs):
            session.run([OUTPUT], {INPUT: image})
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = _Graph(onnx.load(file), onnx.load(Path(folder) / "optimised.onnx"))
    starts = [e["ts"] for e in events if e["name"] == "model_run"]
    kernels = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
    run_of = np.searchsorted(starts, [e["ts"] for e in kernels], side="right") - 1
    unnamed: Counter[tuple[int, str]] = Counter()
    records = []
    for run, event in zip(run_of.tolist(), kernels, strict=True):
        name, operator = event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]
        node = graph.named.get(name)
        if node is None:
            node = graph.unnamed(operator, unnamed[run, operator])
            unnamed[run, operator] += 1
        layer = graph.layer(node) if node is not None else ("", kind_of(operator))
        records.append((run, layer, event["dur"] / 1e3 + CUT_OFF))
    return by_run(records, runs)


class _Graph:
    """Which layer of the exported graph a node of the optimised one belongs to."""

    def __init__(self, given: onnx.ModelProto, optimised: onnx.ModelProto) -> None:
        self.named = {node.name: node for node in optimised.graph.node if node.name}
        self._optimised = list(optimised.graph.node)
        self._readers = {name: node for node in self._optimised for name in node.input}
        self._makers = {name: node for node in self._optimised for name in node.output}
        self._given = {name: node for node in given.graph.node for name in (node.name, *node.output)}
        self._order = {node.name: i for i, node in enumerate(given.graph.node)}

    def unnamed(self, operator: str, number: int) -> Any:
        """The so-manieth node without a name, as inlined functions have, of that operator."""
        alike = [node for node in self._optimised if not node.name and node.op_type == operator]
        return alike[number] if number < len(alike) else None

    def layer(self, node: Any) -> tuple[str, str]:
        """Module and kind. A change of layout belongs to the layer that has no kernel for the blocked one."""
        kind = kind_of(node.op_type)
        if node.op_type == "ReorderInput":
            beside = self._makers.get(node.input[0])
            return (self.layer(beside)[0] if beside is not None else ""), kind
        if node.op_type == "ReorderOutput":
            beside = self._readers.get(node.output[0])
            return (self.layer(beside)[0] if beside is not None else ""), kind
        names = [*node.output, node.name]
        plain = [re.sub(r"(_token_\d+|_nchwc|_quant)+$", "", name) for name in names]
        made = next((self._given[name] for name in (*names, *plain) if name in self._given), None)
        if made is not None:
            return self._computed(made, kind)
        if node.op_type == "HardSigmoid" and node.output[0] in self._readers:  # of an inlined HardSwish
            return self.layer(self._readers[node.output[0]])
        return module_in(next((name for name in plain if "/" in name), "")), kind

    def _computed(self, made: Any, kind: str) -> tuple[str, str]:
        """The optimiser calls what it fused after the value computed last; what counts is the layer."""
        seen = made
        while kind in _FUSING and kind_of(seen.op_type) in ("act", "add"):
            if kind_of(seen.op_type) == kind:
                break
            makers = [self._given[name] for name in seen.input if name in self._given]
            if not makers:
                return module_of(made), kind
            seen = max(makers, key=lambda node: self._order[node.name])
        if kind_of(seen.op_type) == kind or kind in _FUSING:
            return module_of(seen), kind
        return module_of(made), kind_of(made.op_type)
