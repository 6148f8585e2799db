"""Writing and checking artifact folders: whole or not at all."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.runtimes.base import MANIFEST

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


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
    folder: Path, *, runtime: str, file: str, example: Tensor, int8: bool, threads: int, **more: Any
) -> None:
    """``artifact.json``; call it last."""
    meta = {
        "runtime": runtime,
        "file": file,
        "input": {"shape": list(example.shape[1:]), "dtype": str(example.dtype).removeprefix("torch.")},
        "int8": int8,
        "threads": threads,
        **more,
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


class InputCheck:
    """Refuses a batch the loaded model was not made for.

    Raises (on call):
        InputError: dtype or shape differs; the line names both.
    """

    def __init__(self, meta: dict[str, Any], batch: int | None) -> None:
        self.dtype: str = meta["input"]["dtype"]
        self.shape: tuple[int, ...] = tuple(meta["input"]["shape"])
        self.batch = batch

    def __call__(self, images: np.ndarray) -> None:
        if (
            images.shape[1:] != self.shape
            or images.dtype != self.dtype
            or not (len(images) == self.batch if self.batch else len(images))
        ):
            n = self.batch or "N"
            want = " x ".join(str(d) for d in (n, *self.shape))
            got = " x ".join(str(d) for d in images.shape)
            raise InputError(f"the model takes {self.dtype} {want}, got {images.dtype} {got}")


def _replaceable(path: Path) -> bool:
    return path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
