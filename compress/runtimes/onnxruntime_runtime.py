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
    With a fixed batch, input and output are bound beforehand: on the smallest nets that saves a fifth of the
    6 us that a call costs, at 224 px it is no gain and no loss (``benchmarks/overhead.py``).
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
        import numpy as np

        from compress.runtimes.onnx_export import INPUT, OUTPUT

        session = self.session(file, self.session_options(batch))

        def run_any(images: np.ndarray) -> np.ndarray:
            logits: np.ndarray = session.run([OUTPUT], {INPUT: images})[0]
            return logits

        if batch is None:
            return run_any
        source = np.zeros((batch, *takes["shape"]), takes["dtype"])
        result = run_any(source)
        binding = session.io_binding()
        binding.bind_input(INPUT, "cpu", 0, source.dtype, source.shape, source.ctypes.data)
        binding.bind_output(OUTPUT, "cpu", 0, result.dtype, result.shape, result.ctypes.data)

        def run(images: np.ndarray) -> np.ndarray:
            source[...] = images
            session.run_with_iobinding(binding)
            logits: np.ndarray = result.copy()
            return logits

        return run

    def session(self, file: Path, options: ort.SessionOptions) -> Any:
        """The model as it is run, profiled or not.

        From 1.21 on it runs a float layer between int8 layers as int8, too (its WeightBiasQuantization).
        That is left on: it saves conversions, and any other program that opens the file has it on.
        """
        import onnxruntime as ort

        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

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
