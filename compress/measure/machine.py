"""What machine this is, and what on it decides how fast a model runs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compress.ops.cpu import cpu_flags as cpu_flags
from compress.ops.cpu import cpuinfo as _cpuinfo
from compress.spec import digest

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


def package_version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
