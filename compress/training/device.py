"""Where a training runs, and in which precision."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from compress.errors import InputError

if TYPE_CHECKING:
    from compress.train import TrainSpec


def use_device(spec: TrainSpec) -> Literal["cpu", "cuda"]:
    """The device ``spec`` trains on here. InputError when it asks for a GPU that is not here."""
    import torch

    if spec.device == "cuda" and not torch.cuda.is_available():
        raise InputError("train.device is cuda, but torch sees no GPU: use cpu or auto")
    return "cuda" if spec.device != "cpu" and torch.cuda.is_available() else "cpu"


def use_bf16(spec: TrainSpec) -> bool:
    """Whether ``spec`` trains in bfloat16 here; auto: on a GPU that has it, never on a CPU.

    Small convolutions are slower in bfloat16 than in float32 even on a CPU with AVX-512 BF16
    (MobileNetV3-Large at 128 px: 0.7 of the images a second).
    """
    import torch

    if spec.precision != "auto":
        return spec.precision == "bf16"
    return use_device(spec) == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def use_bf16_forward(spec: TrainSpec) -> bool:
    """The same for a net that only runs forward (a teacher); auto: also on a CPU with bfloat16 arithmetic.

    Without the backward pass bfloat16 does pay there (EfficientNet-Lite0 at 128 px: 1.8 times the images
    a second); without the arithmetic it is emulated and slow.
    """
    import torch

    if spec.precision != "auto" or use_device(spec) == "cuda":
        return use_bf16(spec)
    return any(
        getattr(torch.cpu, name, lambda: False)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def make_fabric(spec: TrainSpec) -> Any:
    """Lightning Fabric on one device, under either of the names it is packaged as."""
    from importlib import import_module

    try:
        library = import_module("lightning_fabric")
    except ImportError:
        library = import_module("lightning.fabric")
    precision = "bf16-mixed" if use_bf16(spec) else "32-true"
    logger = logging.getLogger(f"{library.__name__}.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)  # it announces the precision, which our own log line does already
    try:
        return library.Fabric(accelerator=use_device(spec), devices=1, precision=precision)
    finally:
        logger.setLevel(level)
