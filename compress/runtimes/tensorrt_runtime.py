"""NVIDIA TensorRT."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from compress.errors import CompressError
from compress.runtimes.base import Run, Runtime

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from compress.net import Quant

_FILE = "model.onnx"
_LARGEST = 64  # images in a free batch


class TensorrtRuntime(Runtime):
    """The ONNX graph, built into an engine for this GPU when it is loaded (some minutes); float32.

    A call copies the images to the GPU and the logits back. Torch holds the buffers there, so loading needs
    it. Written against TensorRT 10's interface and not yet run on a GPU by this project's tests.
    """

    kind: Literal["tensorrt"] = "tensorrt"
    packages: ClassVar[tuple[str, ...]] = ("tensorrt", "torch")
    extra: ClassVar[str | None] = "tensorrt"

    def missing(self, *, export: bool = False) -> str | None:
        try:
            ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        except OSError:
            return "tensorrt needs an NVIDIA GPU with its driver; none is here"
        return super().missing(export=export)

    def _write(self, model: nn.Module, example: Tensor, folder: Path, quant: Quant | None) -> str:
        import onnx

        from compress.runtimes.onnx_export import to_onnx

        onnx.save(to_onnx(_floats_first(model), example), folder / _FILE)
        return _FILE

    def _open(self, file: Path, takes: dict[str, Any], batch: int | None) -> Run:
        import numpy as np
        import tensorrt as trt
        import torch

        from compress.runtimes.onnx_export import INPUT, OUTPUT

        logger = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(logger)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(file.read_bytes()):
            raise CompressError(f"{file}: TensorRT cannot read it: {parser.get_error(0)}")
        config, profile = builder.create_builder_config(), builder.create_optimization_profile()
        config.clear_flag(trt.BuilderFlag.TF32)  # 10 bits of a float's mantissa: not what was trained
        smallest, largest = (batch, batch) if batch else (1, _LARGEST)
        profile.set_shape(INPUT, *((n, *takes["shape"]) for n in (smallest, smallest, largest)))
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise CompressError(f"{file}: TensorRT cannot build an engine from it")
        context = trt.Runtime(logger).deserialize_cuda_engine(plan).create_execution_context()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

        def some(images: np.ndarray) -> np.ndarray:
            with torch.cuda.stream(stream):
                source = torch.from_numpy(np.ascontiguousarray(images)).cuda()
                context.set_input_shape(INPUT, tuple(images.shape))
                logits = torch.empty(tuple(context.get_tensor_shape(OUTPUT)), device="cuda")
                context.set_tensor_address(INPUT, source.data_ptr())
                context.set_tensor_address(OUTPUT, logits.data_ptr())
                if not context.execute_async_v3(stream.cuda_stream):
                    raise CompressError(f"{file}: TensorRT failed to run it")
                found: np.ndarray = logits.cpu().numpy()  # waits for the stream
            return found

        def run(images: np.ndarray) -> np.ndarray:
            if batch or len(images) <= _LARGEST:
                return some(images)
            return np.concatenate([some(images[i : i + _LARGEST]) for i in range(0, len(images), _LARGEST)])

        run.cuda_stream = stream  # type: ignore[attr-defined]  # where the clock records its events
        return run


def _floats_first(model: nn.Module) -> nn.Module:
    """TensorRT casts uint8 as it comes in and does nothing else with it, not even a transposition."""
    from torch import nn

    class FloatsFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.model(images.float())
            return logits

    return FloatsFirst().train(model.training)
