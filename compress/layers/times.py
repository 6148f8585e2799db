"""A net layer by layer: what is counted, what the guidelines say, what the runtime's profiler measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.measure.machine import machine
from compress.runtimes.profiling import LayerTime, has_profiler, profile
from compress.spec import digest
from compress.store import Store, source_digest

if TYPE_CHECKING:
    from compress.latency_table.table import LatencyTable
    from compress.measure.guidelines import Guidelines, LayerGuide
    from compress.net import Net

THE_NET = "(net)"  # what lies in no module of it: pixels to floats, layout
_CONVS = ("dense", "pointwise", "depthwise", "grouped")


@dataclass(frozen=True)
class LayerLine:
    """One layer.

    Attributes:
        name: the module, or ``THE_NET``.
        kind: of ``LayerRow``, or of ``LayerTime`` for what only the runtime does (``reorder``).
        shape: of its input and output, its kernel; empty for what only the runtime does.
        params, macs, memory: counted; 0 likewise.
        against: what the guidelines hold against it.
        cost: what they predict, in MACs; None likewise.
        table_ms: what the latency table predicts, None without one.
        ms: measured; 0 when it runs as part of another layer.
        watched_ms: the same as the profiler has it, who slows small layers.
    """

    name: str
    kind: str
    shape: str
    params: int
    macs: int
    memory: int
    against: tuple[str, ...]
    cost: float | None
    table_ms: float | None
    ms: float
    watched_ms: float


def layer_lines(net: Net, times: Sequence[LayerTime], table: LatencyTable | None = None) -> list[LayerLine]:
    """A line a layer in order, then what only the runtime does.

    Args:
        times: of ``profile`` of the exported net; an int8 one's, too.
        table: calibrated, for a float net; left out, ``table_ms`` is None.
    """
    left = {(time.name, time.kind): time for time in times}
    guides: dict[tuple[str, str], list[LayerGuide]] = {}
    for guide in _deployed(net).layers:
        guides.setdefault((_own(guide.row.name), _family(guide.row.kind)), []).append(guide)
    predicted: dict[tuple[str, str], float] = {}
    if table is not None and table.calibrated and net.quant is None:
        for name, kind, ms in table.layers(net):
            predicted[name, _family(kind)] = predicted.get((name, _family(kind)), 0.0) + ms
    lines = []
    for (name, family), same in guides.items():
        parts = [(_own(part), "act") for guide in same for part in guide.row.merged]
        own = [left.pop(key) for key in dict.fromkeys([(name, family), *parts]) if key in left]
        lines.append(_line(name, same, predicted.get((name, family)), own))
    for (name, kind), time in left.items():
        counted = (0, 0, 0, (), None, None)
        lines.append(LayerLine(name or THE_NET, kind, "", *counted, time.ms, time.watched_ms))
    return lines


def correlations(lines: Sequence[LayerLine]) -> dict[str, float]:
    """Spearman's rank correlation of each prediction with the measured time, over the layers of the net."""
    from scipy.stats import spearmanr

    layers = [line for line in lines if line.cost is not None]
    measured = [line.ms for line in layers]
    predictions: dict[str, list[float]] = {
        "MACs": [line.macs for line in layers],
        "memory access": [line.memory for line in layers],
        "guidelines": [line.cost or 0.0 for line in layers],
    }
    if all(line.table_ms is not None for line in layers):
        predictions["latency table"] = [line.table_ms or 0.0 for line in layers]
    found = {name: float(spearmanr(values, measured).statistic) for name, values in predictions.items()}
    return {name: rho for name, rho in found.items() if np.isfinite(rho)}


def layers_ms(
    net: Net, key: str, artifact: Path, store: Store, whole_ms: float | None = None
) -> list[dict[str, Any]] | None:
    """``name``, ``kind``, ``ms`` and ``macs`` of every layer of an exported net, profiled once and stored.

    Args:
        key: addresses the net.
        artifact: its folder; what it was exported for says which profiler.
        whole_ms: the net's measured time; what its layers leave of it is a row of kind ``unattributed``.

    Returns:
        None where the runtime has no profiler, or it fails: a run's report is written all the same.
    """
    from compress.runtimes.kinds import open_artifact

    runtime, exported = open_artifact(artifact)
    if not has_profiler(runtime):
        return None
    facts = machine()
    asked = digest(
        "layers", key, runtime.canonical(), facts["id"], facts["versions"], source_digest(__name__)
    )
    with store.lock(f"layers-{asked}"):
        rows: list[dict[str, Any]] | None = store.value("layers", asked)
        if rows is None:
            size = net.preprocess.size
            image = np.zeros((1, size, size, 3), np.uint8)
            try:
                times = profile(runtime, exported, image, whole_ms=whole_ms)
            except Exception:  # each runtime raises its own
                return None
            lines = layer_lines(net, times)
            rows = [{"name": o.name, "kind": o.kind, "ms": o.ms, "macs": o.macs} for o in lines]
            store.put_value("layers", asked, rows)
    return rows


def _line(
    name: str, same: Sequence[LayerGuide], predicted: float | None, own: Sequence[LayerTime]
) -> LayerLine:
    """Several kernels of one module and kind are one line: profilers tell them apart no further."""
    row = same[0].row
    return LayerLine(
        name=name or THE_NET,
        kind=row.kind,
        shape=_shape(same[0]) if len(same) == 1 else f"{len(same)} times",
        params=sum(guide.row.params for guide in same),
        macs=sum(guide.row.macs for guide in same),
        memory=sum(guide.row.memory for guide in same),
        against=tuple(dict.fromkeys(text for guide in same for text in guide.against)),
        cost=sum(guide.cost for guide in same),
        table_ms=predicted,
        ms=sum(time.ms for time in own),
        watched_ms=sum(time.watched_ms for time in own),
    )


def _shape(guide: LayerGuide) -> str:
    """``24>96 @28>14 k3``: channels, sides of the maps, kernel."""
    row = guide.row
    wide = _arrow(row.shape[0], row.out[0])
    if len(row.shape) == 3 and row.shape[1:] != (1, 1):
        wide += f" @{_arrow(row.shape[1], row.out[1] if len(row.out) == 3 else 1)}"
    return wide + (f" k{row.kernel[0]}" if row.kernel[0] > 1 else "")


def _arrow(before: int, after: int) -> str:
    return f"{before}" if before == after else f"{before}>{after}"


def _deployed(net: Net) -> Guidelines:
    """The guidelines on the net as it is exported: from uint8 pixels on."""
    import torch

    from compress.measure.guidelines import guidelines
    from compress.runtimes.deploy import Deployed

    size = net.preprocess.size
    image = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    return guidelines(Deployed(net.module, net.preprocess), image)


def _own(name: str) -> str:
    """Its name in the net, which is ``module`` where it is deployed."""
    return name.removeprefix("module").removeprefix(".")


def _family(kind: str) -> str:
    """Of a counted kind, as profilers tell kinds apart."""
    return "conv" if kind in _CONVS else "linear" if kind == "vector" else kind
