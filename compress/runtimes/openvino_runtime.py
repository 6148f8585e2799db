"""OpenVINO on the CPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from compress.errors import InputError
from compress.runtimes.base import Artifact, Runtime
from compress.runtimes.folder import InputCheck, missing_package, new_folder, write_manifest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from compress.net import Quant

_FILE = "model.xml"


class OpenvinoRuntime(Runtime):
    """OpenVINO's IR, made from the same ONNX graph as ``OnnxRuntime``'s file, weights in float32.

    The graph is read by the core's own ONNX frontend; nothing of OpenVINO's telemetry is loaded.
    """

    kind: Literal["openvino"] = "openvino"
    int8: ClassVar[bool] = True

    def missing(self) -> str | None:
        return missing_package("openvino", self.extra)

    def export(self, model: nn.Module, example: Tensor, path: Path, quant: Quant | None = None) -> Artifact:
        """See ``Runtime.export``; int8 is quantised by onnxruntime.

        Raises:
            InputError: openvino, or for int8 onnxruntime, is not installed.
            CompressError: the model cannot be exported or quantised.
            ValueError: ``quant`` does not fit the model.
        """
        lines = [self.missing(), missing_package("onnxruntime", None) if quant else None]
        if problems := [line for line in lines if line]:
            raise InputError(problems)
        import onnx

        from compress.runtimes.onnx_quantize import onnx_model

        with new_folder(path) as folder:
            proto = onnx_model(model, example, quant)
            source = folder / "model.onnx"
            onnx.save(proto, source)
            _openvino().save_model(_core().read_model(source), folder / _FILE, compress_to_fp16=False)
            source.unlink()
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
        """See ``Runtime.load``.

        Raises:
            InputError: openvino is not installed; on a call, a batch that does not fit.
        """
        if (line := self.missing()) is not None:
            raise InputError(line)
        meta = artifact.meta
        model = _core().read_model(artifact.path / meta["file"])
        model.reshape([batch or -1, *meta["input"]["shape"]])
        compiled = _core().compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": self.threads,
                "ENABLE_CPU_PINNING": False,  # whoever times us pins
                "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it
            },
        )
        request = compiled.create_infer_request()
        check = InputCheck(meta, batch)
        if batch is None:

            def run_any(images: np.ndarray) -> np.ndarray:
                check(images)
                request.infer([images])
                logits: np.ndarray = request.get_output_tensor().data.copy()
                return logits

            return run_any

        source, result = request.get_input_tensor().data, request.get_output_tensor().data

        def run(images: np.ndarray) -> np.ndarray:
            check(images)
            source[...] = images
            request.infer()
            logits: np.ndarray = result.copy()
            return logits

        return run


@cache
def _core() -> Any:
    """One core for the process: each would load the CPU plugin again."""
    return _openvino().Core()


def _openvino() -> Any:
    """The package, imported as if openvino-telemetry were not installed: else the import alone writes an
    identifier into the user's home and sends a usage event."""
    hidden = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
