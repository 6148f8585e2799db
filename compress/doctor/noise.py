"""The noise floor: a small real model timed against itself, as the chain times a stage against its parent."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.doctor.diagnosis import Noise
from compress.measure.latency import Loads, interleaved
from compress.measure.sections import bound

if TYPE_CHECKING:
    from compress.measure.sections import Run

_SIZE, _CHANNELS, _LAYERS = 64, 96, 10  # about 1 ms
_FOUR_OF_FIVE = 1.4  # half an interval is 2 to 2.4 standard errors, a difference seen so often 0.85 more


def noise_floor(seconds: float) -> Noise:
    """About ``seconds`` of timing, and a second or so besides.

    Raises:
        CompressError: another timing on this machine did not end.
    """
    with tempfile.TemporaryDirectory() as folder:
        absent = [package for package in ("onnxruntime", "onnx") if find_spec(package) is None]
        if absent:
            load, model = _numpy, f"a {_LAYERS}-layer perceptron in numpy ({absent[0]} is not installed)"
        else:
            load, model = _onnx(Path(folder)), f"a {_LAYERS * 2 + 2}-layer convolutional net in ONNX Runtime"
        timed = interleaved({"one": Loads(load), "same": Loads(load)}, reference="one", seconds=seconds)[
            "same"
        ]
    half = math.log(timed.ratio.high / timed.ratio.low) / 2
    return Noise(
        model=model,
        ms=timed.median_ms,
        seconds=seconds,
        told=math.expm1(_FOUR_OF_FIVE * half),
        called_different=not timed.ratio.tie,
        note=timed.note,
        warning=timed.warning,
    )


def _onnx(folder: Path) -> Callable[[], Run]:
    """A depthwise-separable net, uint8 1 x H x W x 3 to logits, as an artifact of ours; no torch."""
    import onnx

    from compress.runtimes.base import MANIFEST, Artifact
    from compress.runtimes.folder import write_json
    from compress.runtimes.onnxruntime_runtime import OnnxRuntime

    onnx.save(_graph(), folder / "model.onnx")
    manifest = {
        "runtime": "onnxruntime",
        "file": "model.onnx",
        "input": {"shape": [_SIZE, _SIZE, 3], "dtype": "uint8"},
        "int8": False,
        "threads": 1,
    }
    write_json(folder / MANIFEST, manifest)
    image = np.random.default_rng(0).integers(0, 256, (1, _SIZE, _SIZE, 3), dtype=np.uint8)
    return partial(_load, OnnxRuntime(), Artifact(folder), image)


def _load(runtime: Any, artifact: Any, image: np.ndarray) -> Run:
    return bound(runtime.load(artifact, batch=1), image)


def _graph() -> Any:
    """An ``onnx.ModelProto``."""
    from onnx import TensorProto, helper, numpy_helper

    from compress.runtimes.onnx_export import INPUT, OUTPUT

    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    weights: list[Any] = []

    def layer(op: str, inputs: list[str], shape: tuple[int, ...] = (), **attributes: Any) -> str:
        out = f"x{len(nodes)}"
        if shape:
            scale = math.prod(shape[1:]) ** -0.5
            weights.append(numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), f"w{out}"))
            inputs = [*inputs, f"w{out}"]
        nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    x = layer("Cast", [INPUT], to=TensorProto.FLOAT)
    x = layer("Transpose", [x], perm=[0, 3, 1, 2])
    x = layer("Relu", [layer("Conv", [x], (_CHANNELS, 3, 3, 3), strides=[2, 2], pads=[1] * 4)])
    for _ in range(_LAYERS):
        x = layer("Relu", [layer("Conv", [x], (_CHANNELS, 1, 3, 3), group=_CHANNELS, pads=[1] * 4)])
        x = layer("Relu", [layer("Conv", [x], (_CHANNELS, _CHANNELS, 1, 1))])
    x = layer("Flatten", [layer("GlobalAveragePool", [x])])
    nodes.append(helper.make_node("MatMul", [x, "head"], [OUTPUT]))
    weights.append(numpy_helper.from_array(rng.normal(size=(_CHANNELS, 6)).astype(np.float32), "head"))
    graph = helper.make_graph(
        nodes,
        "doctor",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, _SIZE, _SIZE, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, 6])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)  # what ONNX Runtime 1.20 reads too


def _numpy() -> Run:
    """Small enough that no BLAS takes a second thread."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.1, (96, 96)).astype(np.float32) for _ in range(_LAYERS)]
    x = rng.random((24, 96)).astype(np.float32)

    def run() -> None:
        out = x
        for weight in weights:
            out = np.maximum(out @ weight, 0)

    return run
