"""The contract of a runtime: export a module, load it back, run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from compress.errors import CompressError, InputError
from compress.runtimes.folder import MANIFEST, Artifact, checked, missing_package, new_folder, write_manifest
from compress.runtimes.onnx_export import first_line
from compress.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from compress.net import Quant

__all__ = ["MANIFEST", "Artifact", "Run", "Runtime"]

Run = Callable[["np.ndarray"], "np.ndarray"]


class Runtime(Spec, ABC):
    """Subclasses declare ``kind: Literal["..."] = "..."`` and how a file is written and opened; heavy
    packages, torch first of all, are imported inside functions."""

    kind: str
    threads: int = Field(1, ge=1, description="Intra-op threads.")

    packages: ClassVar[tuple[str, ...]]  # what loading and running import
    exporters: ClassVar[tuple[str, ...]] = ()  # what only exporting imports, beyond torch and onnx
    extra: ClassVar[str | None] = None  # the extra of setup.cfg that brings them; None: always there
    int8: ClassVar[bool] = False  # whether a Quant is honoured at export

    def missing(self, *, export: bool = False) -> str | None:
        """None when usable here, with ``export`` to write artifacts too; else one line: what to install."""
        for package in (*self.packages, *(self.exporters if export else ())):
            if line := missing_package(package, self.extra):
                return line
        return None

    def check(self) -> list[str]:
        """``missing`` as a recipe's check asks for it: found before any training."""
        line = self.missing(export=True)
        return [line] if line else []

    def export(self, model: nn.Module, example: Tensor, path: Path, quant: Quant | None = None) -> Artifact:
        """Write ``model`` (eval, float; takes ``example``, whose first dimension is a free batch) to the
        new folder ``path``. ``quant`` makes it int8.

        Raises:
            InputError: a package is not installed, or ``path`` holds something that is no artifact.
            CompressError: the model cannot be exported or quantised.
            ValueError: ``quant`` where ``int8`` is False, or one that does not fit the model.
        """
        if line := self.missing(export=True):
            raise InputError(line)
        if quant is not None and not self.int8:
            raise ValueError(f"the {self.kind} runtime has no int8: use onnxruntime or openvino")
        with new_folder(path) as folder:
            file = self._write(model, example, folder, quant)
            write_manifest(
                folder, options=self.canonical(), file=file, example=example, int8=quant is not None
            )
        return Artifact(path)

    def load(self, artifact: Artifact, batch: int | None = 1) -> Run:
        """A function from an input batch to logits (float32 N x C) that the caller owns; without torch
        where the format allows. ``batch`` fixes the batch for speed; None leaves it free. One call at a
        time: threads that call together load one each.

        Raises:
            InputError: a package is not installed; on a call, an input of another dtype or shape.
            CompressError: the runtime cannot load it, as one older than what made it may not.
        """
        if line := self.missing():
            raise InputError(line)
        meta = artifact.meta
        try:
            run = self._open(artifact.path / meta["file"], meta["input"], batch)
        except CompressError:
            raise
        except Exception as error:  # each runtime raises its own
            raise CompressError(
                f"{artifact.path}: {self.kind} cannot load it: {first_line(error)}"
            ) from error
        return checked(run, meta["input"], batch)

    @abstractmethod
    def _write(self, model: nn.Module, example: Tensor, folder: Path, quant: Quant | None) -> str:
        """Write the model's files into ``folder``; the name of the one that ``_open`` takes."""

    @abstractmethod
    def _open(self, file: Path, takes: dict[str, Any], batch: int | None) -> Run:
        """``load`` without its checks; ``takes`` is the manifest's ``input``: ``shape``, ``dtype``."""
