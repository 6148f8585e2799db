"""What one call of each runtime costs besides the net's own work, in microseconds.

The net is next to nothing (a mean over 8 x 8 pixels), so that a call is all overhead: Python, the binding and
the runtime's own bookkeeping, an upper bound on the Python alone. Then ONNX Runtime's ways to be called, on
images of three sizes: what is bound beforehand is not looked up in a call, but the image is copied into it.
The runtime's own call is bound, and checks what it is given.

python benchmarks/overhead.py [--seconds 4]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import typer
from torch import Tensor, nn

from compress.measure.latency import Timings, interleaved
from compress.net import Net, Preprocess
from compress.runtimes.base import Artifact
from compress.runtimes.deploy import export_net
from compress.runtimes.kinds import installed
from compress.runtimes.onnxruntime_runtime import OnnxRuntime

CLAIM_US = 30.0
SIZES = (8, 96, 224)


class Mean(nn.Module):
    """The mean of a corner of 8 x 8 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, :8, :8].mean((2, 3))


def main(seconds: float = 4.0) -> None:
    """Print both tables, and whether ONNX Runtime stays below its bound."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {}
        for cls in installed():
            runtime = cls(kind=cls.model_fields["kind"].default)
            artifact = export_net(net(8), runtime, Path(folder) / runtime.kind)
            calls[runtime.kind] = call(runtime.load(artifact), image(8))
        timed = interleaved(calls, reference="onnxruntime", seconds=seconds)
        print("a call of each runtime on a net of next to nothing")
        show(timed)
        us = 1e3 * timed["onnxruntime"].median_ms
        print(f"onnxruntime: {us:.1f} us, claimed below {CLAIM_US:g}: {'yes' if us < CLAIM_US else 'NO'}")
        for size in SIZES:
            artifact = export_net(net(size), OnnxRuntime(), Path(folder) / str(size))
            print(f"\nonnxruntime at {size} px")
            show(interleaved(ways(artifact, image(size)), reference="session.run", seconds=seconds))


def ways(artifact: Artifact, pixels: np.ndarray) -> dict[str, Callable[[], object]]:
    """Functions of no argument; each gives logits that the caller owns."""
    import onnxruntime as ort

    ours = OnnxRuntime().load(artifact)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_free_dimension_override_by_name("batch", 1)
    session = ort.InferenceSession(str(artifact.path / "model.onnx"), options)
    source, logits = np.empty_like(pixels), np.empty((1, 3), np.float32)
    into = session.io_binding()
    into.bind_input("images", "cpu", 0, np.uint8, source.shape, source.ctypes.data)
    into.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)

    def buffers() -> np.ndarray:
        source[...] = pixels
        session.run_with_iobinding(into)
        return logits.copy()

    found: dict[str, Callable[[], object]] = {
        "the runtime's, checked": call(ours, pixels),
        "session.run": lambda: session.run(["logits"], {"images": pixels})[0],
        "bound to numpy buffers": buffers,
        "bound, nothing copied": lambda: session.run_with_iobinding(into),
    }
    want = ours(pixels)
    for name in list(found)[:-1]:
        assert np.array_equal(found[name](), want), name
    return found


def show(timed: Timings) -> None:
    for name, one in timed.items():
        ratio = "" if one.ratio.low == one.ratio.high else f"  x{one.ratio.median:.2f}"
        if ratio:
            ratio += " (a tie)" if one.ratio.tie else f" ({one.ratio.low:.2f} to {one.ratio.high:.2f})"
        print(f"  {name:<22} {1e3 * one.median_ms:7.1f} us{ratio}")


def net(size: int) -> Net:
    return Net(Mean(), Preprocess(size), ("red", "green", "blue"))


def image(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)


def call(run: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> Callable[[], object]:
    return lambda: run(pixels)


if __name__ == "__main__":
    typer.run(main)
