"""A report's metric, ready to score with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def metric_of(report: Mapping[str, Any], split: str) -> Any:
    """The ``Metric`` of a run with its base values filled in; ``split`` is val or test.

    What only says where bases come from, or what to check, is left out.
    """
    from pydantic import TypeAdapter

    from compress.measure.score import MetricSpec

    first = report["baseline"]
    base = {"time_ms": first["latency_ms"]["median"], **first, **(first.get("base") or {})}
    stated = {**report["metric"], "require": None, "baseline": None, "time": "model"}
    metric: Any = TypeAdapter(MetricSpec).validate_python(stated)
    return metric.with_base(f1=base[f"f1_{split}"], time=base["time_ms"], macs=base["macs"])
