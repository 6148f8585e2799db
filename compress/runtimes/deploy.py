"""A whole net as shipped: uint8 pixels in, logits out, labels beside; and whether an export agrees."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import CompressError
from compress.runtimes.base import MANIFEST, Artifact, Runtime
from compress.runtimes.folder import new_folder, write_json

if TYPE_CHECKING:
    from compress.net import Net, Preprocess

LABELS = "labels.json"
AGREEMENT = 0.99  # share of images that must get the same label in a float export
TOLERANCE = 1e-3  # largest difference of a logit in a float export, of the largest logit

_BATCH = 32


class Deployed(nn.Module):
    """uint8 N x H x W x 3 to N x C logits: layout and normalisation are part of what is exported."""

    # Exported tensors are named like these, and those of a net's own ``mean()`` like the operation
    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(self, module: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("pixel_mean", torch.tensor(preprocess.mean).view(1, 3, 1, 1) * 255.0)
        self.register_buffer("pixel_scale", 1.0 / (torch.tensor(preprocess.std).view(1, 3, 1, 1) * 255.0))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()
        logits: Tensor = self.module((pixels - self.pixel_mean) * self.pixel_scale)
        return logits


def export_net(net: Net, runtime: Runtime, path: Path, decode: str = "reference") -> Artifact:
    """Write ``net`` as an artifact whose ``artifact.json`` also has ``labels`` and ``preprocess``, and
    ``labels.json`` beside it. Int8 when ``net.quant`` is set.

    Args:
        decode: how whoever loads it makes pixels of files, see ``compress.data.fast``.

    Raises:
        InputError: ``path`` holds something that is no artifact.
        CompressError: the runtime cannot export the net.
        ValueError: ``net.quant`` with a runtime without int8, or one that does not fit the net.
    """
    quant = net.quant
    if quant is not None:  # names inside Deployed
        quant = dataclasses.replace(quant, exclude=tuple(f"module.{name}" for name in quant.exclude))
    size = net.preprocess.size
    example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    with new_folder(path) as folder:
        made = runtime.export(Deployed(net.module, net.preprocess), example, folder, quant)
        preprocess = {**dataclasses.asdict(net.preprocess), "decode": decode}
        meta = {**made.meta, "labels": list(net.labels), "preprocess": preprocess}
        write_json(folder / LABELS, list(net.labels))
        write_json(folder / MANIFEST, meta)
    return Artifact(path)


def stamp(artifact: Artifact, decode: str) -> None:
    """Say in an exported net's ``artifact.json`` how files become pixels, once that was measured."""
    meta = artifact.meta
    if meta["preprocess"].get("decode") != decode:
        write_json(artifact.path / MANIFEST, {**meta, "preprocess": {**meta["preprocess"], "decode": decode}})


@dataclass(frozen=True)
class Parity:
    """An export beside the float module in PyTorch, on the same images.

    Attributes:
        agreement: share of the ``n`` images with the same label.
        max_difference: largest absolute difference of a logit; ``allowed`` is what a float export may have.
        int8: rounding is what int8 is, so its agreement is reported and not judged.
    """

    agreement: float
    max_difference: float
    allowed: float
    n: int
    int8: bool

    @property
    def ok(self) -> bool:
        finite = bool(np.isfinite(self.max_difference))
        return finite and (self.int8 or (self.agreement >= AGREEMENT and self.max_difference <= self.allowed))

    @property
    def line(self) -> str:
        """For the log and the report."""
        text = f"same label as PyTorch for {self.agreement:.1%} of {self.n} images, "
        text += f"logits differ by at most {self.max_difference:.2g}"
        return text if self.ok else text + f" (required: {AGREEMENT:.0%}, {self.allowed:.2g})"


def parity(net: Net, runtime: Runtime, artifact: Artifact, images: np.ndarray) -> Parity:
    """Load ``artifact`` from disk and compare it with ``net`` in PyTorch.

    Args:
        images: uint8 N x H x W x 3 at the net's size, real ones: on noise all labels are the same.

    Raises:
        CompressError: a float export that does not agree, or any with NaN logits. What ships would not be
            what was trained.
    """
    found = compare(runtime, artifact, eager_logits(net, images), images)
    if not found.ok:
        raise CompressError(f"the {runtime.kind} export disagrees with its net: {found.line}")
    return found


def compare(runtime: Runtime, artifact: Artifact, reference: np.ndarray, images: np.ndarray) -> Parity:
    """``parity`` with given logits of the float module; never raises for a disagreement."""
    run = runtime.load(artifact, batch=None)
    got = np.concatenate([run(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])
    allowed, int8 = TOLERANCE * float(np.abs(reference).max()), bool(artifact.meta["int8"])
    if got.shape != reference.shape:
        return Parity(0.0, float("inf"), allowed, len(images), int8)
    agreement = float((got.argmax(1) == reference.argmax(1)).mean())
    return Parity(agreement, float(np.abs(got - reference).max()), allowed, len(images), int8)


def eager_logits(net: Net, images: np.ndarray) -> np.ndarray:
    """Logits (float32 N x C) of the float module in PyTorch; ``net`` is left as it is."""
    deployed = Deployed(net.module, net.preprocess)
    modes = [(layer, layer.training) for layer in net.module.modules()]
    deployed.eval()
    try:
        with torch.inference_mode():
            parts = [deployed(torch.tensor(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
    finally:
        for layer, training in modes:
            layer.training = training
    return torch.cat(parts).numpy()
