"""PyTorch itself, eager, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compress.errors import InputError
from compress.runtimes.base import Artifact, Runtime
from compress.runtimes.folder import InputCheck, missing_package, new_folder, write_manifest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from compress.net import Quant

_FILE = "model.pt2"


class TorchRuntime(Runtime):
    """A ``torch.export`` program (no pickled classes), batch norms folded, weights channels-last.

    Float only: int8 in PyTorch is deployed through the other runtimes.
    """

    kind: Literal["torch"] = "torch"

    def missing(self) -> str | None:
        return missing_package("torch", self.extra)

    def export(self, model: nn.Module, example: Tensor, path: Path, quant: Quant | None = None) -> Artifact:
        """See ``Runtime.export``.

        Raises:
            CompressError: the model cannot be exported.
            ValueError: ``quant`` is given.
        """
        if quant is not None:
            raise ValueError("the torch runtime has no int8: use onnxruntime or openvino")
        import torch

        from compress.runtimes.onnx_export import exported_program, folded, quiet

        with new_folder(path) as folder, quiet():
            plain = folded(model, example).to(memory_format=torch.channels_last)
            torch.export.save(exported_program(plain, example), folder / _FILE)
            write_manifest(
                folder, runtime=self.kind, file=_FILE, example=example, int8=False, threads=self.threads
            )
        return Artifact(path)

    def load(self, artifact: Artifact, batch: int | None = 1) -> Callable[[np.ndarray], np.ndarray]:
        """See ``Runtime.load``; every batch runs at the same speed. Needs torch.

        Raises:
            InputError: torch is not installed; on a call, a batch that does not fit.
        """
        if (line := self.missing()) is not None:
            raise InputError(line)
        import torch

        from compress.runtimes.onnx_export import quiet

        meta = artifact.meta
        with quiet():
            # Guards would check per call what InputCheck has checked.
            module = torch.export.load(artifact.path / meta["file"]).module(check_guards=False)
        check, threads = InputCheck(meta, batch), self.threads

        def run(images: np.ndarray) -> np.ndarray:
            check(images)
            if not images.flags.writeable:  # memory-mapped: torch would warn
                images = images.copy()
            others = torch.get_num_threads()
            if others != threads:  # training in this process keeps its own number
                torch.set_num_threads(threads)
            try:
                with torch.inference_mode():
                    logits: np.ndarray = module(torch.from_numpy(images)).numpy()
            finally:
                if others != threads:
                    torch.set_num_threads(others)
            return logits

        return run
