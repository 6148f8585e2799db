"""The figures of a run, as far as its report has what they show."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.report.charts.classes import confusion, per_class
from compress.report.charts.layers import slowest, time_by_kind, widths
from compress.report.charts.scatter import f1_against_time
from compress.report.charts.waterfall import parts, waterfall
from compress.report.marks import Figure
from compress.report.tables import rows
from compress.store import write_text

FOLDER = "figures"


def figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """By name, in the order of the page."""
    base, final = report["baseline"], report["final"]
    cost = "MACs" if report["metric"]["kind"] == "f1_macs" else "time"
    labels = list(final["f1_per_class"])
    found: list[Figure | None] = [
        waterfall(parts(report, "test"), "test", cost),
        waterfall(parts(report, "val"), "val", cost),
        f1_against_time(rows(report), base["latency_ms"]["median"]),
    ]
    if base.get("layers_ms") and final.get("layers_ms"):
        found.append(time_by_kind(base["layers_ms"], final["layers_ms"]))
        found += [slowest(step["layers_ms"], name) for name, step in (("baseline", base), ("final", final))]
    matrices = {name: step.get("confusion_test") for name, step in (("baseline", base), ("final", final))}
    sizes = dict(zip(labels, map(sum, matrices["final"] or ()), strict=False))
    found.append(per_class(base["f1_per_class"], final["f1_per_class"], sizes))
    for name, matrix in matrices.items():
        if matrix:
            found.append(confusion(matrix, labels, f"confusion-{name}", f"Who is taken for whom: {name}"))
    if shapes := report.get("shapes"):
        found.append(widths(shapes["baseline"], shapes["final"]))
    return {figure.name: figure for figure in found if figure is not None}


def write_figures(path: Path, found: Sequence[Figure]) -> None:
    """``path/figures`` with an SVG and a PNG of each figure, and nothing else."""
    from compress.report import png, svg

    shutil.rmtree(path / FOLDER, ignore_errors=True)
    for figure in found:
        write_text(path / FOLDER / f"{figure.name}.svg", svg.file(figure))
        (path / FOLDER / f"{figure.name}.png").write_bytes(png.png(figure))
