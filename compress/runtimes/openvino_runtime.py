"""OpenVINO on the CPU."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from compress.errors import InputError
from compress.runtimes.base import Run, Runtime
from compress.runtimes.folder import missing_package

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
    packages: ClassVar[tuple[str, ...]] = ("openvino",)
    int8: ClassVar[bool] = True

    def _write(self, model: nn.Module, example: Tensor, folder: Path, quant: Quant | None) -> str:
        import onnx

        from compress.runtimes.onnx_export import OUTPUT
        from compress.runtimes.onnx_quantize import onnx_model

        if quant is not None and (line := missing_package("onnxruntime", None)) is not None:
            raise InputError(line)  # which quantises
        source = folder / "model.onnx"
        proto = onnx_model(model, example, quant)
        onnx.save(proto, source)
        made = _core().read_model(source)
        last = next(node.name for node in proto.graph.node if OUTPUT in node.output)
        for i, node in enumerate(made.get_ordered_ops()):
            name = node.get_friendly_name()
            if name.startswith(f"{node.get_type_name()}_"):  # else numbered on from the last net read here
                node.set_friendly_name(f"{node.get_type_name()}_{i}")
            elif name.split("/")[0] == OUTPUT:  # called after what it computes, not after its module
                node.set_friendly_name(last + name.removeprefix(OUTPUT))
        _openvino().save_model(made, folder / _FILE, compress_to_fp16=False)
        source.unlink()
        return _FILE

    def _open(self, file: Path, takes: dict[str, Any], batch: int | None) -> Run:
        request = self.compiled(file, takes, batch).create_infer_request()
        if batch is None:

            def run_any(images: np.ndarray) -> np.ndarray:
                request.infer([images])
                logits: np.ndarray = request.get_output_tensor().data.copy()
                return logits

            return run_any

        source, result = request.get_input_tensor().data, request.get_output_tensor().data

        def run(images: np.ndarray) -> np.ndarray:
            source[...] = images
            request.infer()
            logits: np.ndarray = result.copy()
            return logits

        return run

    def compiled(self, file: Path, takes: dict[str, Any], batch: int | None, **more: Any) -> Any:
        """The model as it is run; ``more`` are properties of OpenVINO's besides, as a profiler's."""
        model = _core().read_model(file)
        model.reshape([batch or -1, *takes["shape"]])
        return _core().compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": self.threads,
                "ENABLE_CPU_PINNING": False,  # whoever times us pins
                "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it
                **more,
            },
        )


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
