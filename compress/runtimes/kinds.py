"""Every runtime there is: a plain list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import InputError
from compress.runtimes.base import MANIFEST, Artifact, Runtime
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.openvino_runtime import OpenvinoRuntime
from compress.runtimes.torch_runtime import TorchRuntime

if TYPE_CHECKING:
    import numpy as np

RUNTIMES: tuple[type[Runtime], ...] = (OnnxRuntime, OpenvinoRuntime, TorchRuntime)
BY_KIND: dict[str, type[Runtime]] = {cls.model_fields["kind"].default: cls for cls in RUNTIMES}


def installed() -> tuple[type[Runtime], ...]:
    """Those whose packages are here."""
    return tuple(cls for kind, cls in BY_KIND.items() if cls(kind=kind).missing() is None)


def open_artifact(path: Path) -> tuple[Runtime, Artifact]:
    """The artifact in folder ``path`` and the runtime it was exported for.

    Raises:
        InputError: there is none, it was cut short, or its runtime is unknown or not installed.
    """
    path = Path(path)
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path}: no {MANIFEST} there, so not an exported model")
    artifact = Artifact(path)
    try:
        meta = artifact.meta
        kind, file, threads = meta["runtime"], meta["file"], meta.get("threads", 1)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / MANIFEST}: damaged ({type(error).__name__}: {error})") from error
    if kind not in BY_KIND:
        raise InputError(f"{path / MANIFEST}: runtime {kind!r} is unknown; known are {', '.join(BY_KIND)}")
    if not (path / file).is_file():
        raise InputError(f"{path}: {file} is missing, so this export is damaged")
    runtime = BY_KIND[kind](kind=kind, threads=threads)
    if (line := runtime.missing()) is not None:
        raise InputError(f"{path} needs {kind}: {line}")
    return runtime, artifact


def load_artifact(path: Path, batch: int | None = 1) -> Callable[[np.ndarray], np.ndarray]:
    """``open_artifact`` and load it; see ``Runtime.load``."""
    runtime, artifact = open_artifact(path)
    return runtime.load(artifact, batch)
