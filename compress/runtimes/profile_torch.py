"""PyTorch's exported program, operator by operator.

``torch.profiler`` records every call below an operator too, and so triples the time of a small net.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError
from compress.runtimes.folder import Artifact
from compress.runtimes.profiling import WARM_UP, Layers, by_run, kind_of

if TYPE_CHECKING:
    from compress.runtimes.torch_runtime import TorchRuntime


def profile(runtime: TorchRuntime, artifact: Artifact, image: np.ndarray, runs: int) -> Layers:
    """See ``compress.runtimes.profiling.profile``.

    Raises:
        InputError: the program is compiled, and has no layers any more.
    """
    import torch

    from compress.runtimes.onnx_export import quiet

    if runtime.compile:
        raise InputError("torch with compile: true has no profiler here; leave compile out to profile")
    with quiet():
        program = torch.export.load(artifact.path / artifact.meta["file"]).module(check_guards=False)
    records: list[tuple[int, tuple[str, str], float]] = []
    layers = {node.name: _layer(node) for node in program.graph.nodes}

    class Watched(torch.fx.Interpreter):
        calls = 0

        def run_node(self, n: torch.fx.Node) -> Any:
            start = time.perf_counter_ns()
            result = super().run_node(n)
            if n.op == "call_function":
                records.append((self.calls, layers[n.name], (time.perf_counter_ns() - start) / 1e6))
            return result

    watched, given = Watched(program), torch.from_numpy(np.array(image))
    threads = torch.get_num_threads()
    torch.set_num_threads(runtime.threads)
    try:
        with torch.inference_mode():
            while watched.calls < WARM_UP + runs:
                watched.run(given)
                watched.calls += 1
    finally:
        torch.set_num_threads(threads)
    return by_run(records, runs)


def _layer(node: Any) -> tuple[str, str]:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    target = getattr(node.target, "__name__", str(node.target)).split(".")[0]
    return (str(stack[-1][0]) if stack else ""), kind_of(target.removesuffix("_"))
