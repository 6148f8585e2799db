"""How often the clock calls the same artifact different from itself; at most 16 of 200 is the aim.

python benchmarks/false_differences.py [--pairs 200] [--busy [--core 0]] [--net small --net big]
                                       [--runtime onnxruntime --runtime openvino]

Each side of each pair is loaded afresh, as the chain does. About 3 s a pair; --pairs 10 for a quick look.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from timing_pairs import NETS, Exported, exact, neighbour

from compress.measure.latency import interleaved


def main(
    pairs: int = 200,
    busy: Annotated[bool, typer.Option("--busy/--idle", help="Keep one core busy meanwhile.")] = False,
    core: Annotated[int | None, typer.Option(help="Pin the busy process to it.")] = None,
    net: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(NETS)}; all when left out.")] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="onnxruntime when left out.")] = None,
) -> None:
    """Print, for each artifact, false differences, the intervals' width and the seconds a pair takes."""
    with tempfile.TemporaryDirectory() as folder:
        artifacts = [Exported(n, r, Path(folder)) for r in runtime or ["onnxruntime"] for n in net or NETS]
        print(f"{pairs} pairs of each artifact with itself, {'one core busy' if busy else 'idle'}")
        with neighbour(busy, core):
            for artifact in artifacts:
                began, different, widths, logs = time.perf_counter(), 0, [], []
                for seed in range(pairs):
                    timed = interleaved(
                        {"a": artifact.loads(), "b": artifact.loads()}, reference="a", seed=seed
                    )["b"]
                    different += not timed.ratio.tie
                    widths.append(timed.ratio.high / timed.ratio.low - 1)
                    logs.append(np.log(timed.ratio.median))
                seconds = (time.perf_counter() - began) / pairs
                print(
                    f"{artifact.name}: {exact(different, pairs)} called different; "
                    f"ratios {np.mean(logs):+.2%} +- {np.std(logs):.2%}, "
                    f"intervals +-{np.median(widths) / 2:.2%}; {seconds:.1f} s a pair"
                )
                print(f"  the last: {timed.note}")


if __name__ == "__main__":
    typer.run(main)
