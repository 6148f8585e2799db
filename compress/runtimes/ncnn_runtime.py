"""ncnn on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from compress.errors import CompressError
from compress.runtimes.base import Run, Runtime

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from compress.net import Quant

_FILE, _WEIGHTS = "model.ncnn.param", "model.ncnn.bin"


class NcnnRuntime(Runtime):
    """ncnn's ``.param`` and ``.bin``, which pnnx makes from the ONNX graph; weights and sums in float32.

    Half-precision storage is off: it gains a tenth of the time and moves logits by up to 1e-3 of the
    largest, a hundred times what the other runtimes do. ncnn takes planes of floats, so what turns uint8
    pixels into planes (``Mat.from_pixels``) is part of a call and the normalisation part of the net.
    A net runs one image at a time: a batch is a loop, no faster an image than batch 1.
    """

    kind: Literal["ncnn"] = "ncnn"
    packages: ClassVar[tuple[str, ...]] = ("ncnn",)
    exporters: ClassVar[tuple[str, ...]] = ("pnnx",)
    extra: ClassVar[str | None] = "ncnn"

    def _write(self, model: nn.Module, example: Tensor, folder: Path, quant: Quant | None) -> str:
        from compress.runtimes.ncnn_export import to_ncnn

        param, weights = to_ncnn(model, example)
        (folder / _FILE).write_bytes(param)
        (folder / _WEIGHTS).write_bytes(weights)
        return _FILE

    def _open(self, file: Path, takes: dict[str, Any], batch: int | None) -> Run:
        import ncnn
        import numpy as np

        net = ncnn.Net()
        net.opt.num_threads = self.threads
        net.opt.lightmode = True  # a blob is freed once it was used
        for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
            if hasattr(net.opt, f"use_{half}"):
                setattr(net.opt, f"use_{half}", False)
        if net.load_param(str(file)) or net.load_model(str(file.with_name(_WEIGHTS))):
            raise CompressError(f"{file}: ncnn cannot load it")
        source, result = net.input_indexes()[0], net.output_indexes()[0]
        pixels = takes["dtype"] == "uint8"
        height, width = takes["shape"][:2] if pixels else (0, 0)
        rgb = ncnn.Mat.PixelType.PIXEL_RGB

        def one(image: np.ndarray) -> np.ndarray:
            image = np.ascontiguousarray(image)  # held until the end: a Mat of floats only points to it
            mat = ncnn.Mat.from_pixels(image, rgb, width, height) if pixels else ncnn.Mat(image)
            extractor = net.create_extractor()
            extractor.input(source, mat)
            failed, out = extractor.extract(result)
            if failed:
                raise CompressError(f"{file}: ncnn stopped with {failed}")
            return np.array(out)

        def run(images: np.ndarray) -> np.ndarray:
            return one(images[0])[None] if len(images) == 1 else np.stack([one(image) for image in images])

        return run
