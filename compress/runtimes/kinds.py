"""Every runtime there is: a plain list."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from compress.errors import InputError
from compress.runtimes.base import MANIFEST, Artifact, Run, Runtime
from compress.runtimes.folder import check_files
from compress.runtimes.ncnn_runtime import NcnnRuntime
from compress.runtimes.onnx_export import first_line
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.openvino_runtime import OpenvinoRuntime
from compress.runtimes.tensorrt_runtime import TensorrtRuntime
from compress.runtimes.torch_runtime import TorchRuntime

RUNTIMES: tuple[type[Runtime], ...] = (
    OnnxRuntime,
    OpenvinoRuntime,
    NcnnRuntime,
    TorchRuntime,
    TensorrtRuntime,
)
BY_KIND: dict[str, type[Runtime]] = {cls.model_fields["kind"].default: cls for cls in RUNTIMES}


def installed() -> tuple[type[Runtime], ...]:
    """Those usable here, to export and to run."""
    return tuple(cls for kind, cls in BY_KIND.items() if cls(kind=kind).missing(export=True) is None)


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
        kind, _ = meta["runtime"], meta["file"]
        if kind not in BY_KIND:
            raise InputError(
                f"{path / MANIFEST}: runtime {kind!r} is unknown; known are {', '.join(BY_KIND)}"
            )
        check_files(artifact)
        cls = BY_KIND[kind]
        options = {name: meta[name] for name in cls.model_fields if name in meta}
        runtime = cls.model_validate({**options, "kind": kind})
    except InputError:
        raise
    except ValidationError as error:  # a page long; its first problem will do
        first = error.errors(include_url=False)[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}, found {first['input']!r}"
        raise InputError(f"{path / MANIFEST}: damaged ({found})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path / MANIFEST}: damaged ({first_line(error)})") from error
    if (line := runtime.missing()) is not None:
        raise InputError(f"{path} needs {kind}: {line}")
    return runtime, artifact


def load_artifact(path: Path, batch: int | None = 1) -> Run:
    """``open_artifact`` and load it; see ``Runtime.load``."""
    runtime, artifact = open_artifact(path)
    return runtime.load(artifact, batch)
