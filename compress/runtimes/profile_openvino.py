"""OpenVINO's profiler: the time of each node of the compiled graph, call by call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from compress.runtimes.folder import Artifact
from compress.runtimes.profiling import CUT_OFF, Layers, by_run, kind_of, module_in

if TYPE_CHECKING:
    from compress.runtimes.openvino_runtime import OpenvinoRuntime

_LAYOUTS = re.compile(r"_[aA][a-eA-E\d]+_[aA][a-eA-E\d]+_")  # as in maker_abcd_acdb_reader


def profile(runtime: OpenvinoRuntime, artifact: Artifact, image: np.ndarray, runs: int) -> Layers:
    """See ``compress.runtimes.profiling.profile``."""
    meta = artifact.meta
    compiled = runtime.compiled(artifact.path / meta["file"], meta["input"], 1, PERF_COUNT=True)
    request = compiled.create_infer_request()
    records = []
    for run in range(runs):
        request.infer([image])
        for node in request.get_profiling_info():
            if node.status == node.Status.EXECUTED:
                layer = _layer(node.node_name, node.node_type)
                records.append((run, layer, node.real_time.total_seconds() * 1e3 + CUT_OFF))
    return by_run(records, runs)


def _layer(name: str, operator: str) -> tuple[str, str]:
    """A change of layout is called ``maker_from_to_reader`` and belongs to the layer that reads it; a run of
    element-wise operators is called after the last of them."""
    kind = kind_of(operator)
    if kind == "reorder" and (change := _LAYOUTS.search(name)):
        return module_in(name[change.end() :]), kind
    if operator == "Subgraph":
        kind = kind_of(name.partition("/")[2].split("_")[0])
    return module_in(name), kind
