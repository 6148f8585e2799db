"""A module as ncnn's two files, by way of ONNX and pnnx."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import CompressError
from compress.runtimes.onnx_export import to_onnx

if TYPE_CHECKING:
    from torch import Tensor, nn


def to_ncnn(model: nn.Module, example: Tensor) -> tuple[bytes, bytes]:
    """The content of ``.param`` and ``.bin``; ``model`` is left as it is.

    A uint8 ``example`` is N x H x W x 3; the files then take its three planes as floats 0 to 255.

    Raises:
        CompressError: the model cannot be exported, or has a layer that ncnn lacks.
    """
    import onnx
    import pnnx
    import torch

    if example.dtype == torch.uint8:
        model, example = _planar(model), example.permute(0, 3, 1, 2).float()
    proto = to_onnx(model, example)
    shape = ",".join(str(d) for d in (1, *example.shape[1:]))
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(proto, Path(folder) / "model.onnx")
        done = subprocess.run(
            [pnnx.EXEC_PATH, "model.onnx", f"inputshape=[{shape}]f32", "fp16=0"],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
        )
        files = [Path(folder) / name for name in ("model.ncnn.param", "model.ncnn.bin")]
        if done.returncode or not all(file.is_file() for file in files):
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise CompressError(f"pnnx cannot convert it: {lines[-1] if lines else done.returncode}")
        param, weights = (file.read_bytes() for file in files)
    _check_layers(param.decode())
    return param, weights


def _planar(model: nn.Module) -> nn.Module:
    """``model`` for N x 3 x H x W; the exporter cancels this permutation with the model's own."""
    from torch import nn

    class Planar(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, planes: Tensor) -> Tensor:
            logits: Tensor = self.model(planes.permute(0, 2, 3, 1))
            return logits

    return Planar().train(model.training)


def _check_layers(param: str) -> None:
    """pnnx passes on what it cannot translate under a name of its own."""
    import ncnn

    layers = {line.split()[0] for line in param.splitlines()[2:] if line.strip()}
    if lacking := sorted(name for name in layers if ncnn.layer_to_index(name) < 0):
        raise CompressError(f"ncnn has no layer {', '.join(lacking)}")
