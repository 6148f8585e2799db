"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from compress.runtimes.base import Run, Runtime

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime as ort
    from torch import Tensor, nn

    from compress.net import Quant

_FILE = "model.onnx"


class OnnxRuntime(Runtime):
    """A ``.onnx`` file run by onnxruntime, tuned for the latency of one image.

    The file stays portable: the graph is optimised for this machine's kernels once, when it is loaded.
    A call costs about 2 us of Python (``benchmarks/overhead.py``); binding buffers of our own would save
    one of them and pay it back by copying the image.
    """

    kind: Literal["onnxruntime"] = "onnxruntime"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    int8: ClassVar[bool] = True

    def _write(self, model: nn.Module, example: Tensor, folder: Path, quant: Quant | None) -> str:
        import onnx

        from compress.runtimes.onnx_quantize import onnx_model

        onnx.save(onnx_model(model, example, quant), folder / _FILE)
        return _FILE

    def _open(self, file: Path, takes: dict[str, Any], batch: int | None) -> Run:
        import onnxruntime as ort

        from compress.runtimes.onnx_export import INPUT, OUTPUT

        options = self.session_options(batch)
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        outputs = [OUTPUT]

        def run(images: np.ndarray) -> np.ndarray:
            logits: np.ndarray = session.run(outputs, {INPUT: images})[0]
            return logits

        return run

    def session_options(self, batch: int | None) -> ort.SessionOptions:
        """What a session is opened with, profiled or not."""
        import onnxruntime as ort

        from compress.runtimes.onnx_export import BATCH

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.enable_cpu_mem_arena = True
        options.log_severity_level = 3
        # Waiting threads that spin steal the core from whatever else this process does.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        if batch is not None:
            options.add_free_dimension_override_by_name(BATCH, batch)
        return options
