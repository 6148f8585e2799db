"""Ranges of a graph's activations over the calibration images, by the same rules as training as int8."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from compress.ops.ranges import Histogram, keep
from compress.runtimes.onnx_export import INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import onnx

_BATCH = 4  # images, all of whose activations are in memory at once


def clipped_ranges(proto: onnx.ModelProto, images: np.ndarray, method: str) -> dict[str, tuple[float, float]]:
    """(low, high) to quantise over of every float activation, by name; see ``compress.ops.ranges.keep``.

    Not ONNX Runtime's own: its calibrators hold the activations of all images at once, and its entropy, with
    as many bins as levels, has no threshold to choose from and keeps everything.

    Args:
        proto: float, with the types of its values; not changed.
        images: as the graph takes them.
        method: ``percentile`` or ``entropy``.
    """
    import torch

    ends: dict[str, tuple[float, float]] = {}
    for name, values in _activations(proto, images):
        low, high = ends.get(name, (0.0, 0.0))
        ends[name] = min(low, float(values.min())), max(high, float(values.max()))
    histograms = {name: Histogram(low, high) for name, (low, high) in ends.items()}
    for name, values in _activations(proto, images):
        histograms[name].add(torch.from_numpy(values))
    kept = {name: keep(histogram, method) for name, histogram in histograms.items()}
    uses = Counter(name for node in proto.graph.node for name in node.input)
    for node in proto.graph.node:  # what a ReLU takes away needs no levels
        if node.op_type in ("Relu", "Clip") and uses[node.input[0]] == 1 and node.input[0] in kept:
            kept[node.input[0]] = kept[node.output[0]]
    return kept


def _activations(proto: onnx.ModelProto, images: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of each float activation, batch by batch."""
    import numpy as np
    import onnx
    import onnxruntime as ort

    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    made = {name for node in proto.graph.node for name in node.output}
    outputs = {output.name for output in proto.graph.output}
    shown.graph.output.extend(v for v in proto.graph.value_info if v.name in made - outputs)
    session: Any = ort.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.type == "tensor(float)"]
    for start in range(0, len(images), _BATCH):
        found = session.run(names, {INPUT: images[start : start + _BATCH]})
        yield from ((name, value) for name, value in zip(names, found, strict=True) if np.size(value))
