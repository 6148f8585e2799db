"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from compress.errors import InputError
from compress.runtimes.base import Artifact, Runtime
from compress.runtimes.folder import InputCheck, missing_package, new_folder, write_manifest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from compress.net import Quant

_FILE = "model.onnx"


class OnnxRuntime(Runtime):
    """A ``.onnx`` file run by onnxruntime, tuned for the latency of one image.

    The file stays portable: the graph is optimised for this machine's kernels once, when it is loaded.
    """

    kind: Literal["onnxruntime"] = "onnxruntime"
    int8: ClassVar[bool] = True

    def missing(self) -> str | None:
        return missing_package("onnxruntime", self.extra)

    def export(self, model: nn.Module, example: Tensor, path: Path, quant: Quant | None = None) -> Artifact:
        """See ``Runtime.export``.

        Raises:
            CompressError: the model cannot be exported or quantised.
            ValueError: ``quant`` does not fit the model.
        """
        import onnx

        from compress.runtimes.onnx_quantize import onnx_model

        with new_folder(path) as folder:
            proto = onnx_model(model, example, quant)
            onnx.save(proto, folder / _FILE)
            write_manifest(
                folder,
                runtime=self.kind,
                file=_FILE,
                example=example,
                int8=quant is not None,
                threads=self.threads,
            )
        return Artifact(path)

    def load(self, artifact: Artifact, batch: int | None = 1) -> Callable[[np.ndarray], np.ndarray]:
        """See ``Runtime.load``; about 5 us of Python a call.

        Raises:
            InputError: onnxruntime is not installed; on a call, a batch that does not fit.
        """
        if (line := self.missing()) is not None:
            raise InputError(line)
        import onnxruntime as ort

        from compress.runtimes.onnx_export import BATCH, INPUT, OUTPUT

        meta = artifact.meta
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
        session = ort.InferenceSession(
            str(artifact.path / meta["file"]), options, providers=["CPUExecutionProvider"]
        )
        check, outputs = InputCheck(meta, batch), [OUTPUT]

        def run(images: np.ndarray) -> np.ndarray:
            check(images)
            logits: np.ndarray = session.run(outputs, {INPUT: images})[0]
            return logits

        return run
