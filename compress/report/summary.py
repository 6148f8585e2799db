"""A run in one sentence and a few figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress.report.tables import count, size


@dataclass(frozen=True)
class Tile:
    """One figure of the final model; ``note`` says what it was, or how sure it is."""

    name: str
    value: str
    note: str


def headline(report: Mapping[str, Any]) -> str:
    """What the run came to."""
    base, final = report["baseline"], report["final"]
    if final["label"] == base["label"]:
        why = "No stage paid" if report["steps"] else "No stages"
        return f"{why}: the baseline is the final model."
    time = counted_ratio(report["metric"])
    ratio, (low, high) = final[time], final[f"{time}_interval"]
    speed = (
        "as fast as the baseline"
        if low <= 1 <= high
        else f"{1 / ratio:.3g} times as fast as the baseline"
        if ratio < 1
        else f"slower than the baseline (\u00d7{ratio:.3g} the time)"
    )
    small = (
        f"{base['bytes'] / final['bytes']:.2g} times smaller"
        if final["bytes"] < base["bytes"]
        else "no smaller"
    )
    path = " from photo to label" if counts_whole_path(report["metric"]) else ""
    return f"After {final['label']}: {speed}{path}, {small}, F1 on test {_change_of_f1(base, final)}."


def counted(metric: Mapping[str, Any]) -> str:
    """Which time the score counts, where it is not that of the columns ``ms`` and ``ratio``."""
    said = "The score counts the time from photo to label; ms and ratio are the model's alone. "
    return said if counts_whole_path(metric) else ""


def counted_ratio(metric: Mapping[str, Any]) -> str:
    """A step's key of the time that the score counts."""
    return "end_to_end_ratio" if counts_whole_path(metric) else "latency_ratio"


def counts_whole_path(metric: Mapping[str, Any]) -> bool:
    """Whether the score counts the time from photo to label; reports of earlier versions do not say."""
    return metric.get("time") == "end_to_end"


def _change_of_f1(base: Mapping[str, Any], final: Mapping[str, Any]) -> str:
    """In points; and whether that is more than noise, which reports of earlier versions do not know."""
    change = round(100 * (final["f1_test"] - base["f1_test"]), 1)
    points = f"{abs(change):.1f} points {'higher' if change > 0 else 'lower'}" if change else "the same"
    if (interval := final.get("f1_test_change_interval")) is None:
        return points
    low, high = interval
    noise = ", which may be noise" if low <= 0 <= high else ", more than noise"
    return f"{points}{noise if change else ''} (95 % of the change {100 * low:+.1f} to {100 * high:+.1f})"


def tiles(report: Mapping[str, Any]) -> list[Tile]:
    """Score, F1, time, size, MACs and parameters of the final model, beside the baseline's."""
    base, final = report["baseline"], report["final"]
    ratio = _span(final["latency_ratio_interval"])
    ms = base["latency_ms"]["median"]
    return [
        Tile(
            "Score (lower is better)",
            f"{final['score_test']:.3f}",
            f"{_span(final['score_test_interval'])}; baseline {base['score_test']:.3f}",
        ),
        Tile(
            "Macro F1",
            f"{final['f1_test']:.3f}",
            f"{_span(final['f1_test_interval'])}; baseline {base['f1_test']:.3f}",
        ),
        Tile(
            "Time of an image",
            f"\u00d7{final['latency_ratio']:.3f}",
            f"{ratio}; {ms * final['latency_ratio']:.3f} ms, baseline {ms:.3f} ms",
        ),
        *_whole_path(base, final),
        Tile("Size", size(final["bytes"]), f"baseline {size(base['bytes'])}"),
        Tile(
            "Multiply-accumulates",
            count(final["macs"]),
            f"baseline {count(base['macs'])}; parameters {count(base['params'])} to {count(final['params'])}",
        ),
    ]


def _whole_path(base: Mapping[str, Any], final: Mapping[str, Any]) -> list[Tile]:
    """An encoded image to its label: decoding is most of it once the model is fast."""
    before, after = base.get("end_to_end_ms"), final.get("end_to_end_ms")
    if before is None or after is None:
        return []
    ratio, span = final.get("end_to_end_ratio"), final.get("end_to_end_ratio_interval")
    if ratio is None or span is None:  # of an earlier version
        return [
            Tile("Photo to label", f"\u00d7{after / before:.3f}", f"{after:.3f} ms, baseline {before:.3f} ms")
        ]
    times = f"{_span(span)}; {before * ratio:.3f} ms, baseline {before:.3f} ms"
    return [Tile("Photo to label", f"\u00d7{ratio:.3f}", times)]


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
