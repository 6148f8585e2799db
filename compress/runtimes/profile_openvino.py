"""OpenVINO's profiler: the time of each node of the compiled graph.

What it reports of a node is the mean of all calls so far, cut off to whole microseconds, and it says that a
node did not run where that is 0. So every load of the model is read after its first call, when each node
that runs is slow enough to be seen; after the warm-up; and at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.runtimes.folder import Artifact
from compress.runtimes.profiling import CUT_OFF, WARM_UP, Layers, Watched, kind_of, module_in

if TYPE_CHECKING:
    from compress.runtimes.openvino_runtime import OpenvinoRuntime

_LOADS = 5
_LAYOUTS = re.compile(r"_[aA][a-eA-E\d]+_[aA][a-eA-E\d]+_")  # as in maker_abcd_acdb_reader


def profile(runtime: OpenvinoRuntime, artifact: Artifact, image: np.ndarray, runs: int) -> Layers:
    """See ``compress.runtimes.profiling.profile``; the calls are shared out among several loads."""
    meta = artifact.meta
    calls = -(-runs // _LOADS)
    found: dict[tuple[str, str], Watched] = {}
    for load in range(_LOADS):
        compiled = runtime.compiled(artifact.path / meta["file"], meta["input"], 1, PERF_COUNT=True)
        request = compiled.create_infer_request()
        first, warm, last = (_means(request, image, more) for more in (1, WARM_UP - 1, calls))
        for name, (operator, ran, _) in first.items():
            if not ran:
                continue
            layer, total = _layer(name, operator), WARM_UP + calls
            ms = max((last[name][2] * total - warm[name][2] * WARM_UP) / calls, CUT_OFF)
            seen = found.setdefault(layer, Watched(np.zeros(_LOADS), 0))
            seen.ms[load] += ms
            found[layer] = Watched(seen.ms, seen.kernels + (load == 0))
    return found


def _means(request: Any, image: np.ndarray, calls: int) -> dict[str, tuple[str, bool, float]]:
    """After so many more calls: operator, whether it was seen to run, and mean milliseconds of each node."""
    for _ in range(calls):
        request.infer([image])
    return {
        node.node_name: (
            node.node_type,
            node.status == node.Status.EXECUTED,
            node.real_time.total_seconds() * 1e3 + CUT_OFF,
        )
        for node in request.get_profiling_info()
    }


def _layer(name: str, operator: str) -> tuple[str, str]:
    """A change of layout is called ``maker_from_to_reader`` and belongs to the layer that reads it; a run of
    element-wise operators is called after the last of them."""
    kind = kind_of(operator)
    if kind == "reorder" and (change := _LAYOUTS.search(name)):
        return module_in(name[change.end() :]), kind
    if operator == "Subgraph":
        kind = kind_of(name.partition("/")[2].split("_")[0])
    return module_in(name), kind
