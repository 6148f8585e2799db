"""A latency table whose times are known: each kernel costs what a formula says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from functools import cache
from pathlib import Path

from compress.latency_table.probes import probe
from compress.latency_table.table import LatencyTable
from compress.latency_table.units import Unit, units_of
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.store import Store

NET_MS = 4e-3


def unit_ms(unit: Unit, launch: float = 1e-3) -> float:
    """A depthwise convolution's multiply-accumulates cost twice; maps are read and written."""
    per_mac = 2e-8 if unit.kind == "depthwise" else 1e-8
    return launch + per_mac * unit.macs + 1e-7 * (unit.read + unit.written) + 5e-8 * unit.weights


def net_ms(units: Sequence[Unit], launch: float = 1e-3) -> float:
    return NET_MS + sum(unit_ms(unit, launch) for unit in units)


@cache
def probe_units(count: int = 40) -> tuple[tuple[Unit, ...], ...]:
    """Kernels of the first probes."""
    nets = [probe(i) for i in range(count)]
    return tuple(tuple(units_of(net.module, net.example())) for net in nets)


def known_table(folder: Path, launch: float = 1e-3) -> LatencyTable:
    """For ONNX Runtime, calibrated by the formula instead of a clock."""
    store = Store(folder)
    table = LatencyTable(OnnxRuntime(), store)
    rows = [
        {"ms": net_ms(units, launch), "units": [astuple(unit) for unit in units], "parts": []}
        for units in probe_units()
    ]
    store.put_value("latency", table._key, rows)
    return table
