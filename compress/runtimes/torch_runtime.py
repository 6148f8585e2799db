"""PyTorch itself on the CPU, eager or compiled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from compress.errors import CompressError
from compress.runtimes.base import Run, Runtime

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from compress.net import Quant

_FILE, _COMPILED = "model.pt2", "compiled.pt2"


class TorchRuntime(Runtime):
    """A ``torch.export`` program (no pickled classes), batch norms folded, weights channels-last.

    Float only: int8 in PyTorch is deployed through the other runtimes. ``compile`` has AOTInductor turn it
    into machine code for this kind of CPU and this number of threads, weights frozen into it; loading that
    needs no compiler. (``torch.compile`` would add its guards, some 100 us a call.)
    """

    kind: Literal["torch"] = "torch"
    compile: bool = Field(
        False, description="Machine code by AOTInductor: about a minute an export, and needs a C++ compiler."
    )
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def missing(self, *, export: bool = False) -> str | None:
        if (line := super().missing(export=export)) is not None:
            return line
        compilers = [os.environ.get("CXX", ""), "g++", "clang++"]  # where TorchInductor looks
        if export and self.compile and not any(shutil.which(name) for name in compilers if name):
            return "runtime.compile needs a C++ compiler: install g++ (apt install g++), or leave it out"
        return None

    def _write(self, model: nn.Module, example: Tensor, folder: Path, quant: Quant | None) -> str:
        import torch

        from compress.ops.fold import folded
        from compress.runtimes.onnx_export import exported_program, quiet

        with quiet():
            plain = folded(model, example).to(memory_format=torch.channels_last)
            program = exported_program(plain, example)
            if self.compile:
                program.example_inputs = ((torch.cat([example[:1], example[:1]]),), {})
                self._compile(program, folder / _COMPILED)
            else:
                torch.export.save(program, folder / _FILE)
        return _COMPILED if self.compile else _FILE

    def _compile(self, program: ExportedProgram, file: Path) -> None:
        import torch

        from compress.runtimes.onnx_export import first_line

        others = torch.get_num_threads()
        torch.set_num_threads(self.threads)  # the code is made for as many
        try:
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(file), inductor_configs={"freezing": True}
            )
        except Exception as error:  # dynamo, inductor and the compiler each raise their own
            raise CompressError(f"cannot be compiled: {first_line(error)}") from error
        finally:
            torch.set_num_threads(others)

    def _open(self, file: Path, takes: dict[str, Any], batch: int | None) -> Run:
        import torch

        from compress.runtimes.onnx_export import quiet

        threads = self.threads
        with quiet():
            module: Callable[[Tensor], Tensor]
            if file.name == _COMPILED:
                module = torch._inductor.aoti_load_package(str(file))
            else:  # guards would check per call what ``checked`` has checked
                module = torch.export.load(file).module(check_guards=False)

        def run(images: np.ndarray) -> np.ndarray:
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
