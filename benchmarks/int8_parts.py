"""What int8 of a whole net and of its parts costs beside the float net in ONNX Runtime; what is converted.

The parts are those that ``quantize`` tries. Weights and images are drawn: times do not depend on them. Half
a minute, most of it quantising.

python benchmarks/int8_parts.py [--net small] [--seconds 8]
"""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from timing_pairs import NETS

from compress.measure.latency import Loads, interleaved
from compress.measure.sections import Run, bound
from compress.models.zoo import YamlModel
from compress.net import Net, Quant
from compress.ops.fold import fold_batchnorm
from compress.runtimes.base import Artifact
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.stages.quantize import Quantize


def main(
    net: Annotated[str, typer.Option(help=f"Of {', '.join(NETS)}.")] = "small", seconds: float = 8.0
) -> None:
    """Print a line for the float net and one for each way to quantise it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    file, size = NETS[net]
    path = Path(__file__).parents[1] / f"recipes/models/{file}.yaml"
    built = YamlModel(path=path).build(tuple("abcdef"), size)
    images = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    folded = fold_batchnorm(built.module, built.example())
    nets = {"float": built}
    for part in Quantize().parts(built):
        nets[part.words] = Net(folded, built.preprocess, built.labels, Quant(images, exclude=part.exclude))
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {}
        for name, one in nets.items():
            artifacts[name] = export_net(one, OnnxRuntime(), Path(folder) / name)
        runs = {name: Loads(partial(load, artifact, images[:1])) for name, artifact in artifacts.items()}
        print(f"{file} at {size} px in ONNX Runtime, one thread")
        for name, one in interleaved(runs, reference="float", seconds=seconds).items():
            ratio = one.ratio
            beside = f"x{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
            print(f"  {name:<28} {one.median_ms:7.3f} ms  {beside}  {conversions(artifacts[name])}")


def load(artifact: Artifact, image: np.ndarray) -> Run:
    return bound(OnnxRuntime().load(artifact), image)


def conversions(artifact: Artifact) -> str:
    """Layers and conversions that are left once the graph is optimised for this machine."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        options = OnnxRuntime().session_options(1)
        options.optimized_model_filepath = str(Path(folder) / "run.onnx")
        OnnxRuntime().session(artifact.path / artifact.meta["file"], options)
        found = Counter(node.op_type for node in onnx.load(Path(folder) / "run.onnx").graph.node)
    int8 = found["QLinearConv"] + found["QGemm"]
    floats = found["Conv"] + found["FusedConv"] + found["Gemm"] + found["FusedGemm"]
    converts = found["QuantizeLinear"] + found["DequantizeLinear"]
    return f"{int8} layers int8, {floats} float, {converts} conversions"


if __name__ == "__main__":
    typer.run(main)
