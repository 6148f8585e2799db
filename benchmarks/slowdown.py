"""How often the clock finds a true slowdown; 170 of 200 at 5 % is the aim.

python benchmarks/slowdown.py [--pairs 200] [--percent 2 --percent 5 --percent 10] [--busy [--core 0]]
                              [--net small --net big] [--runtime onnxruntime]

The slow side does further work after the model's, calibrated to make the whole call so much slower; work and
not a wait for a moment, so that it slows down with the core as a slower model would. About 3 s a pair;
--pairs 10 for a quick look.
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
from compress.measure.sections import Run, on_cpu


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
                    turns = _turns([artifact.loads().load() for _ in range(4)], share / 100)
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


def _turns(runs: list[Run], share: float) -> int:
    """Turns of a loop after the model that make the whole call slower by ``share``.

    Found by trying, for work between two calls also costs the model its place in caches and pipelines. Each
    load is compared with itself, so that only the work differs.
    """
    turns = round(share * _quartile(runs[0], 20) / 10)  # about 10 ns a turn
    for _ in range(3):
        logs = []
        with exclusive():
            for run in runs * 12:
                slow = _slowed(turns)(run)
                _quartile(run, 4)  # the first calls after another load's are no measure
                ns = [_quartile(call, 4) for call in (run, slow, slow, run)]
                logs.append(np.log(ns[1] * ns[2] / (ns[0] * ns[3])) / 2)
        turns = max(1, round(turns * share / max(float(np.expm1(np.median(logs))), share / 4)))
    return turns


def _quartile(run: Run, calls: int) -> float:
    run()
    return float(np.percentile(on_cpu(run, calls)[0], 25))


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
