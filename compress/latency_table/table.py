"""Times of nets predicted for one machine and runtime, from probes that were timed there once."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import CompressError
from compress.latency_table.model import LatencyModel, Part, Prediction
from compress.latency_table.units import Unit, unit_of, units_of
from compress.measure.machine import machine, package_version
from compress.spec import digest
from compress.store import Store

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.net import Net
    from compress.runtimes.base import Artifact, Runtime

PROBES = 40
_SECONDS = 0.8  # of timing a probe
_PROFILED_RUNS = 100
_FORMAT = 3  # of the stored rows
_EXPORTING = ("torch", "onnxscript")  # what makes the graphs that runtimes run


class LatencyTable:
    """Predicts milliseconds of float nets at batch 1 in a runtime on this machine.

    The table is a stored value, addressed by machine, runtime, threads and library versions.
    """

    def __init__(self, runtime: Runtime, store: Store | None = None) -> None:
        self.runtime = runtime
        self._store = store or Store()
        versions = {
            name: package_version(name) for name in (*runtime.packages, *runtime.exporters, *_EXPORTING)
        }
        self._key = digest("latency", _FORMAT, machine()["id"], versions, runtime.canonical())

    @property
    def calibrated(self) -> bool:
        """Whether this machine has been calibrated for this runtime."""
        return self._rows is not None

    @property
    def content(self) -> str | None:
        """What predictions follow from: a digest of key and rows; None where it is not calibrated."""
        return None if self._rows is None else digest(self._key, self._rows)

    def calibrate(self, probes: int = PROBES, log: Callable[[str], None] = print) -> None:
        """Export and time ``probes`` nets in one interleaved session; two or three idle minutes.

        Raises:
            CompressError: a probe cannot be exported, or another timing did not end.
        """
        from compress.latency_table.probes import probe
        from compress.measure.latency import Loads, interleaved
        from compress.runtimes.deploy import export_net

        began = time.monotonic()
        nets, artifacts, runs = [], [], {}
        with self._store.lock(f"latency-{self._key}", log=log), tempfile.TemporaryDirectory() as folder:
            for i in range(probes):
                net = probe(i)
                nets.append(self._units(net))
                artifacts.append(artifact := export_net(net, self.runtime, Path(folder) / str(i)))
                runs[str(i)] = Loads(partial(self._call, artifact, net.preprocess.size))
                log(f"latency table: exported probe {i + 1} of {probes}")
            log(f"latency table: timing {probes} probes, about {probes * _SECONDS:.0f} s")
            middle = str(sorted(range(probes), key=lambda i: sum(u.macs for u, _ in nets[i]))[probes // 2])
            timed = interleaved(runs, reference=middle, seconds=_SECONDS * probes, cores=self.runtime.threads)
            ms = timed.paired_ms()
            rows = [
                {
                    "ms": ms[str(i)],
                    "units": [astuple(unit) for unit, _ in net],
                    "parts": self._parts(net, artifact, ms[str(i)]),
                }
                for i, (net, artifact) in enumerate(zip(nets, artifacts, strict=True))
            ]
            self._store.put_value("latency", self._key, rows)
        self.__dict__.pop("_rows", None)
        self.__dict__.pop("model", None)
        log(f"latency table: {self.runtime.kind} calibrated in {time.monotonic() - began:.0f} s")

    def predict(self, net: Net) -> Prediction:
        """The time of ``net`` as deployed.

        Raises:
            CompressError: not calibrated, or ``net`` is int8.
        """
        return self.model.predict([unit for unit, _ in self._units(net)])

    def module_ms(self, module: nn.Module, example: Tensor) -> float:
        """Milliseconds of a bare module in the middle of a net; see ``predict``."""
        return sum(self.model.unit_ms(units_of(module, example)))

    def layers(self, net: Net) -> list[tuple[str, str, float]]:
        """Module, kind and milliseconds of each kernel of ``net`` as deployed; see ``predict``."""
        found = self._units(net)
        each = self.model.unit_ms([unit for unit, _ in found])
        return [(name, unit.kind, ms) for (unit, name), ms in zip(found, each, strict=True)]

    @cached_property
    def model(self) -> LatencyModel:
        """Fitted to the stored rows.

        Raises:
            CompressError: not calibrated.
        """
        rows = self._rows
        if rows is None:
            raise CompressError(
                f"no latency table for {self.runtime.kind} on this machine: python -m compress calibrate"
            )
        nets = [[Unit(*unit) for unit in row["units"]] for row in rows]
        return LatencyModel(nets, [row["ms"] for row in rows], [row["parts"] for row in rows])

    @cached_property
    def _rows(self) -> list[dict[str, Any]] | None:
        rows: list[dict[str, Any]] | None = self._store.value("latency", self._key)
        return rows

    def _call(self, artifact: Artifact, size: int) -> Callable[[], object]:
        from compress.measure.sections import bound

        return bound(self.runtime.load(artifact), np.zeros((1, size, size, 3), np.uint8))

    def _parts(self, net: Sequence[tuple[Unit, str]], artifact: Artifact, ms: float) -> list[Part]:
        """What each module takes of a call of ``ms``, where the runtime can tell."""
        from compress.runtimes.profiling import has_profiler, profile

        if not has_profiler(self.runtime):
            return []
        size = artifact.meta["preprocess"]["size"]
        image = np.zeros((1, size, size, 3), np.uint8)
        took: dict[str, float] = defaultdict(float)
        for layer in profile(self.runtime, artifact, image, _PROFILED_RUNS, whole_ms=ms):
            took[layer.name] += layer.ms
        places = {name: [i for i, (_, inside) in enumerate(net) if inside == name] for _, name in net if name}
        return [(inside, took[name]) for name, inside in places.items() if name in took]

    def _units(self, net: Net) -> list[tuple[Unit, str]]:
        """Kernels of the net as deployed, and the modules they lie in."""
        import torch

        from compress.ops.trace import kernels, trace
        from compress.runtimes.deploy import Deployed

        if net.quant is not None:
            raise CompressError("the latency table predicts float nets, and this one is int8")
        size = net.preprocess.size
        example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
        found = kernels(trace(Deployed(net.module, net.preprocess), example))
        return [
            (unit_of(kernel), kernel.op.module.removeprefix("module").removeprefix(".")) for kernel in found
        ]
