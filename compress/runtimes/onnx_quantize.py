"""int8 as QDQ ONNX: static, per-channel symmetric weights, ranges from calibration images."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError
from compress.ops.cpu import weight_top
from compress.ops.ranges import METHODS
from compress.runtimes.onnx_export import INPUT, first_line, quiet, to_onnx
from compress.runtimes.onnx_float_nodes import float_nodes
from compress.runtimes.onnx_ranges import clipped_ranges

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from torch import Tensor, nn

    from compress.net import Quant

_BATCH = 16


def onnx_model(model: nn.Module, example: Tensor, quant: Quant | None) -> onnx.ModelProto:
    """``to_onnx``, or ``to_int8_onnx`` where there is a ``quant``."""
    return to_onnx(model, example) if quant is None else to_int8_onnx(model, example, quant)


def to_int8_onnx(model: nn.Module, example: Tensor, quant: Quant) -> onnx.ModelProto:
    """``to_onnx`` with quantize and dequantize nodes around what runs as int8.

    Activations are uint8, asymmetric: x86 kernels want them unsigned, and a ReLU then costs nothing.
    What comes before the first weighted layer (layout, normalisation) stays float, and with
    ``quant.exclude`` what lies in these modules and what loses its int8 neighbours by that; see
    ``float_nodes``.

    Raises:
        CompressError: the model cannot be exported, or ONNX Runtime cannot quantise it.
        ValueError: an unknown method or module, no images, or images of another dtype or shape than
            ``example``'s.
    """
    modules = dict(model.named_modules())
    unknown = [name for name in quant.exclude if name not in modules]
    if unknown:
        raise ValueError(f"quant.exclude names {unknown}: the model has no such modules")
    _check(example, quant)
    return _quantised(to_onnx(model, example), quant)


def _quantised(proto: onnx.ModelProto, quant: Quant) -> onnx.ModelProto:
    import numpy as np
    import onnx
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, quiet(), _quiet_calibration():
        shaped, out = Path(folder) / "shaped.onnx", Path(folder) / "int8.onnx"
        try:
            # The exporter has optimised the graph; doing it again would rename the nodes left out.
            quant_pre_process(proto, shaped, skip_optimization=True, skip_symbolic_shape=True)
            # Strided: batch by batch. CalibMaxIntermediateOutputs would forget what it has seen.
            options: dict[str, Any] = {"CalibStridedMinMax": 1}
            if quant.method != "minmax":
                ranges = clipped_ranges(onnx.load(shaped), quant.images, quant.method)
                options["TensorQuantOverrides"] = {
                    name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
                    for name, (low, high) in ranges.items()
                }
            q.quantize_static(
                shaped,
                out,
                _reader(quant.images),
                quant_format=q.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=weight_top() < 127,  # then -64 to 64
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                nodes_to_exclude=float_nodes(proto, quant.exclude),
                calibrate_method=q.CalibrationMethod.MinMax,
                extra_options=options,
            )
        except Exception as error:  # protobuf, numpy and C++ each raise their own
            raise CompressError(f"ONNX Runtime cannot quantise this net: {first_line(error)}") from error
        return onnx.load(out)


def _check(example: Tensor, quant: Quant) -> None:
    if quant.method not in METHODS:
        raise ValueError(f"quant.method must be one of {sorted(METHODS)}, got {quant.method!r}")
    dtype, shape = str(example.dtype).removeprefix("torch."), tuple(example.shape[1:])
    images = quant.images
    if len(images) == 0 or images.dtype != dtype or images.shape[1:] != shape:
        raise ValueError(
            f"calibration images must be {dtype} N x {' x '.join(map(str, shape))}, "
            f"got {images.dtype} {' x '.join(map(str, images.shape))}"
        )


def _reader(images: np.ndarray) -> Any:
    """Batches of the images, all of them or those that the calibrator asks for."""
    from onnxruntime.quantization import CalibrationDataReader

    batches = [{INPUT: images[i : i + _BATCH]} for i in range(0, len(images), _BATCH)]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(batches)

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.left = iter(batches[start_index:end_index])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    return Reader()


@contextmanager
def _quiet_calibration() -> Iterator[None]:
    """Without the calibrator's prints and the warnings of its sessions."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)
