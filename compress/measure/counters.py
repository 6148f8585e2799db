"""What can be counted without a clock, and what machine this is."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.spec import digest

if TYPE_CHECKING:
    from torch import Tensor, nn

_PACKAGES = (
    "beyondnas",
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "ncnn",
    "pnnx",
    "tensorrt",
    "numpy",
)
_BOARD = Path("/proc/device-tree/model")
# What decides which kernels a runtime picks.
_FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
)


@dataclass(frozen=True)
class Counts:
    """Attributes:
    params: parameters; buffers are not counted.
    macs: multiply-accumulates of one image.
    layers: convolutions and linear layers.
    memory: memory access cost (Ma et al., ShuffleNet V2, 2018): elements that layers, additions,
        multiplications and pools read and write, weights included; norms are folded, activation
        functions applied in place, views free.
    memory_bytes: the same in bytes.
    activations: elements of the outputs of all convolutions (Radosavovic et al., RegNet, 2020).
    peak_bytes: of the activations alive at once, at most, when every result is freed after its last
        reader and every kernel writes a tensor of its own.
    """

    params: int
    macs: int
    layers: int
    memory: int
    memory_bytes: int
    activations: int
    peak_bytes: int


def count(module: nn.Module, example: Tensor) -> Counts:
    """All counters of a float module; ``example`` is an input with any batch, of which one image counts."""
    from compress.measure.layers import peak_bytes
    from compress.ops.trace import kernels, trace

    found = kernels(trace(module, example[:1]))
    return Counts(
        params=params(module),
        macs=macs(module, example),
        layers=layers(module),
        memory=sum(kernel.memory for kernel in found),
        memory_bytes=sum(kernel.memory * kernel.op.itemsize for kernel in found),
        activations=sum(kernel.written for kernel in found if kernel.op.kind == "conv"),
        peak_bytes=peak_bytes(found, example[:1]),
    )


def params(module: nn.Module) -> int:
    """Parameters; a tensor shared by two layers counts once."""
    return sum(p.numel() for p in module.parameters())


def macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one image: convolutions and matrix products, as aten runs them."""
    from compress.ops.flops import count_macs

    return count_macs(module, example[:1])


def layers(module: nn.Module) -> int:
    """Convolutions and linear layers, subclasses too."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    return sum(isinstance(m, _ConvNd | nn.Linear) for m in module.modules())


@cache
def machine() -> dict[str, Any]:
    """Facts of this machine: ``id`` (the same for equal hardware), ``cpu``, ``arch``, ``flags``, ``cores``,
    ``os``, ``python`` and ``versions`` of the packages that matter to a time."""
    hardware = {
        "cpu": _cpu_model(),
        "arch": platform.machine(),
        "flags": sorted(cpu_flags() & set(_FLAGS)),
        "cores": os.cpu_count() or 1,
    }
    return {
        "id": digest(hardware)[:12],
        **hardware,
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: v for name in _PACKAGES if (v := package_version(name)) is not None},
    }


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets as Linux names them; empty elsewhere."""
    for key, value in _cpuinfo():
        if key in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _cpu_model() -> str:
    """The name alone can hide the generation (``AMD EPYC`` on many clouds): family and model follow it. ARM's
    kernels say no name: it is the board's, if that is known, and the numbers of its kinds of cores follow."""
    fields: dict[str, str] = {}
    for key, value in _cpuinfo():
        fields.setdefault(key, value)
    name = fields.get("model name") or _apple() or platform.processor() or platform.machine()
    if "cpu family" in fields and "model" in fields:
        return f"{name} (family {fields['cpu family']} model {fields['model']})"
    if "CPU part" in fields:
        parts = " and ".join(dict.fromkeys(value for key, value in _cpuinfo() if key == "CPU part"))
        maker = fields.get("CPU implementer", "unknown")
        return f"{_board() or name} (implementer {maker} part {parts})"
    return name


def _board() -> str | None:
    """As small ARM machines name themselves: ``Raspberry Pi 4 Model B Rev 1.4``."""
    with suppress(OSError):
        return _BOARD.read_text(encoding="utf-8", errors="replace").strip("\0 \n") or None
    return None


def _apple() -> str | None:
    """``Apple M2``; platform.processor says ``arm`` of them all."""
    if sys.platform != "darwin":
        return None
    done = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
    return done.stdout.strip() or None


def _cpuinfo() -> list[tuple[str, str]]:
    if not sys.platform.startswith("linux"):
        return []
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [(k.strip(), v.strip()) for k, _, v in (line.partition(":") for line in lines) if v]


def package_version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
