"""How often the clock finds a true slowdown; 170 of 200 at 5 % is the aim.

python benchmarks/slowdown.py [--pairs 200] [--percent 2 --percent 5 --percent 10] [--busy [--core 0]]
                              [--net small --net big] [--runtime onnxruntime]

The slow side does further work after the model's, calibrated beside it; work and not a wait for a moment,
so that it slows down with the core as a slower model would. About 3 s a pair; --pairs 10 for a quick look.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from timing_pairs import NETS, Exported, exact, neighbour

from compress.measure.exclusive import exclusive
from compress.measure.latency import interleaved
from compress.measure.sections import Run


def main(
    pairs: int = 200,
    percent: Annotated[list[float] | None, typer.Option(help="2, 5 and 10 when left out.")] = None,
    busy: Annotated[bool, typer.Option("--busy/--idle", help="Keep one core busy meanwhile.")] = False,
    core: Annotated[int | None, typer.Option(help="Pin the busy process to it.")] = None,
    net: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(NETS)}; all when left out.")] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="onnxruntime when left out.")] = None,
) -> None:
    """Print, for each artifact and slowdown, how often it was found and what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        artifacts = [Exported(n, r, Path(folder)) for r in runtime or ["onnxruntime"] for n in net or NETS]
        print(f"{pairs} pairs each, {'one core busy' if busy else 'idle'}")
        with neighbour(busy, core):
            for artifact in artifacts:
                for share in percent or [2.0, 5.0, 10.0]:
                    began, found, ratios = time.perf_counter(), 0, []
                    turns = _turns(artifact.loads().load(), share / 100)
                    for seed in range(pairs):
                        sides = {"as it is": artifact.loads(), "slowed": artifact.loads(_slowed(turns))}
                        ratio = interleaved(sides, reference="as it is", seed=seed)["slowed"].ratio
                        found += ratio.low > 1
                        ratios.append(ratio.median)
                    seconds = (time.perf_counter() - began) / pairs
                    print(
                        f"{artifact.name}, {share:g} % slower: found {exact(found, pairs)}; measured "
                        f"x{np.median(ratios):.3f} (x{min(ratios):.3f} to x{max(ratios):.3f}); "
                        f"{seconds:.1f} s a pair"
                    )


def _turns(run: Run, share: float) -> int:
    """Turns of a loop that take ``share`` of the time of ``run``, timed in turns with it."""
    probe, times = 2000, []
    with exclusive():
        for _ in range(400):
            start = time.perf_counter_ns()
            run()
            middle = time.perf_counter_ns()
            _work(probe)
            times.append(((time.perf_counter_ns() - middle) / probe) / (middle - start))
    return round(share / float(np.median(times[20:])))


def _slowed(turns: int) -> Callable[[Run], Run]:
    def wrap(run: Run) -> Run:
        def slow() -> None:
            run()
            _work(turns)

        return slow

    return wrap


def _work(turns: int) -> None:
    for _ in range(turns):
        pass


if __name__ == "__main__":
    typer.run(main)
