"""Which of a study's nets to take: by score, by a requirement, by the knee of the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.records import TIME_MS, Record, comparable, front

if TYPE_CHECKING:
    from compress.measure.score import Require
    from search.spec import StudySpec

COSTS = ("ms", "params", "macs")


def choices(spec: StudySpec, records: Sequence[Record]) -> dict[str, Record]:
    """The best by each rule of what is comparable: ``score``, ``knee`` and, where
    ``metric.require`` is met, ``constraint``."""
    found = comparable(records)
    if not found:
        return {}
    chosen = {"score": min(found, key=lambda r: (r.measured["score"], r.number))}
    cost = next((name for name in COSTS if name in spec.objectives), "ms")
    chosen["knee"] = knee(front(found, {"f1": "maximize", cost: "minimize"}), cost)
    if spec.metric.require is not None and (met := meeting(found, spec.metric.require)):
        chosen["constraint"] = met[0]
    return chosen


def meeting(records: Sequence[Record], require: Require) -> list[Record]:
    """Those that meet ``require`` on val, fastest first by the time that the metric counts."""

    def time(measured: dict[str, float]) -> float:
        return measured.get(TIME_MS, measured["ms"])

    def within(measured: dict[str, float]) -> bool:
        return (
            (require.f1 is None or measured["f1"] >= require.f1)
            and (require.time_ms is None or time(measured) <= require.time_ms)
            and (require.macs is None or measured["macs"] <= require.macs)
        )

    met = [record for record in records if within(record.measured)]
    return sorted(met, key=lambda r: (time(r.measured), -r.measured["f1"], r.number))


def knee(points: Sequence[Record], cost: str) -> Record:
    """The point of a front of F1 and a cost furthest above the line between its ends (Das 1999).

    The cheapest where no point lies above that line.
    """
    ordered = sorted(points, key=lambda r: r.measured[cost])
    low, high = ordered[0].measured, ordered[-1].measured
    span, rise = high[cost] - low[cost], high["f1"] - low["f1"]
    if not span or not rise:
        return ordered[0]

    def above(record: Record) -> float:
        x = (record.measured[cost] - low[cost]) / span
        return (record.measured["f1"] - low["f1"]) / rise - x

    return max(ordered, key=above)
