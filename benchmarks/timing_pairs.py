"""What false_differences.py and slowdown.py share: artifacts, a busy neighbour, counts with intervals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from compress.measure.latency import Loads
from compress.measure.sections import Run, bound
from compress.models.zoo import YamlModel
from compress.runtimes.base import Artifact, Runtime
from compress.runtimes.deploy import export_net
from compress.runtimes.kinds import BY_KIND

NETS = {"small": ("mobilenetv3_small", 96), "big": ("mobilenetv3", 128)}  # about 0.3 and 1.7 ms


class Exported:
    """An untrained net of recipes/models in a runtime's format, to be loaded as the chain loads it."""

    def __init__(self, net: str, runtime: str, folder: Path) -> None:
        import torch

        torch.manual_seed(0)
        file, size = NETS[net]
        self.name = f"{file} at {size} px, {runtime}"
        self._runtime: Runtime = BY_KIND[runtime](kind=runtime)
        model = YamlModel(path=Path(__file__).parents[1] / f"recipes/models/{file}.yaml")
        self._artifact: Artifact = export_net(
            model.build(tuple("abcdef"), size), self._runtime, folder / f"{net}-{runtime}"
        )
        self._image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)

    def loads(self, wrap: Callable[[Run], Run] = lambda run: run) -> Loads:
        def load() -> Run:
            return wrap(bound(self._runtime.load(self._artifact, batch=1), self._image))

        return Loads(load)


@contextmanager
def neighbour(busy: bool, core: int | None) -> Iterator[None]:
    """Another process that keeps one core busy, on ``core`` or where the system puts it."""
    if not busy:
        yield
        return
    pin = "" if core is None else f"os.sched_setaffinity(0, {{{core}}})\n"
    # It changes what it holds as it spins, so that it wants caches too and not the arithmetic alone; and it
    # ends by itself should this process be killed.
    code = "x, parent = list(range(100_000)), os.getppid()\n"
    code += "while os.getppid() == parent:\n    x = [v + 1 for v in x]"
    process = subprocess.Popen([sys.executable, "-c", f"import os\n{pin}{code}"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def exact(found: int, of: int) -> str:
    """A count with its exact (Clopper-Pearson) 95 % interval."""
    from scipy.stats import binomtest

    low, high = binomtest(found, of).proportion_ci(0.95)
    return f"{found} of {of} ({found / of:.1%}, 95 % {low:.1%} to {high:.1%})"
