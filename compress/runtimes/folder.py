"""Artifact folders: written whole or not at all, checked when opened."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

MANIFEST = "artifact.json"


@dataclass(frozen=True)
class Artifact:
    """A folder with a model in its runtime's format and ``artifact.json`` (written last)."""

    path: Path

    @property
    def meta(self) -> dict[str, Any]:
        """``runtime`` and its options, ``file``, ``files`` (bytes by name), ``content``, ``input`` (shape
        without batch, dtype), ``int8``, and for a whole net ``labels`` and ``preprocess``."""
        data: dict[str, Any] = json.loads((self.path / MANIFEST).read_text())
        return data

    @property
    def bytes(self) -> int:
        """Size of the model's files (everything but JSON)."""
        return sum(f.stat().st_size for f in _model_files(self.path))

    @property
    def content(self) -> str:
        """Digest of the model's files: the same model, wherever the folder was copied to."""
        digest = hashlib.sha256()
        for file in _model_files(self.path):
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:20]


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside ``path`` to write into; renamed to ``path`` at the end, gone on failure.

    An artifact or an empty folder at ``path`` is replaced.

    Raises:
        InputError: ``path`` is a file, or a folder with something else in it.
    """
    path = Path(path)
    if path.exists() and not _replaceable(path):
        raise InputError(f"{path}: exists and is not an artifact; name a new folder, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    scratch.chmod(0o777 & ~_umask())  # mkdtemp's 0700 would stay with the artifact
    try:
        yield scratch
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            try:
                path.rename(old / "old")
                scratch.rename(path)
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_manifest(
    folder: Path, *, options: Mapping[str, Any], file: str, example: Tensor, int8: bool
) -> None:
    """``artifact.json``; call it last. ``options`` are those of the runtime, its ``kind`` among them."""
    artifact = Artifact(folder)
    meta = {
        "runtime": options["kind"],
        **{name: value for name, value in options.items() if name != "kind"},
        "file": file,
        "files": {f.name: f.stat().st_size for f in _model_files(folder)},
        "content": artifact.content,
        "input": {"shape": list(example.shape[1:]), "dtype": str(example.dtype).removeprefix("torch.")},
        "int8": int8,
    }
    write_json(folder / MANIFEST, meta)


def write_json(file: Path, content: Any) -> None:
    """Whole or not at all: to a temporary name of this process alone, then renamed."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}.part")
    scratch.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(scratch, file)


def missing_package(package: str, extra: str | None) -> str | None:
    """None when ``package`` is installed, else the line that says how to install it."""
    if importlib.util.find_spec(package) is not None:
        return None
    return f"{package} is not installed: pip install " + (f"'beyondnas[{extra}]'" if extra else package)


def checked(
    run: Callable[[np.ndarray], np.ndarray], takes: Mapping[str, Any], batch: int | None
) -> Callable[[np.ndarray], np.ndarray]:
    """``run``, refusing a batch that the loaded model was not made for.

    Raises (on call):
        InputError: dtype or shape differs; the line names both.
    """
    import numpy as np

    dtype, shape = np.dtype(takes["dtype"]), tuple(takes["shape"])

    def call(images: np.ndarray) -> np.ndarray:
        n = len(images) if images.ndim else 0
        if images.dtype != dtype or images.shape[1:] != shape or n != (batch or n) or not n:
            want = " x ".join(str(d) for d in (batch or "N", *shape))
            got = " x ".join(str(d) for d in images.shape)
            raise InputError(f"the model takes {dtype} {want}, got {images.dtype} {got}")
        return run(images)

    vars(call).update(vars(run))  # a GPU's stream, which the clock looks for
    return call


def check_files(artifact: Artifact) -> None:
    """
    Raises:
        InputError: a file of the model is missing or was cut short.
    """
    meta = artifact.meta
    for name, size in {meta["file"]: None, **meta.get("files", {})}.items():
        file = artifact.path / name
        if not file.is_file():
            raise InputError(f"{artifact.path}: {name} is missing, so this export is damaged")
        if size is not None and (found := file.stat().st_size) != size:
            raise InputError(f"{file}: has {found} bytes instead of {size}, so this export is damaged")


def _model_files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_file() and f.suffix != ".json")


def _replaceable(path: Path) -> bool:
    return path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
