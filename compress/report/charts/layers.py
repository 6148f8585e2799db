"""Layer by layer: where the time goes, and how wide each layer was and is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from compress.report.marks import Bar, Figure, Mark, Text, scale, short

_ROW = 40
_MOST = 15  # layers drawn; all are in the table


def time_by_kind(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Figure:
    """Milliseconds by kind of layer, baseline above final."""
    sums = [_by_kind(before), _by_kind(after)]
    most = {kind: max(s.get(kind, 0.0) for s in sums) for kind in (*sums[0], *sums[1])}
    kinds = sorted((kind for kind in most if most[kind] >= 5e-4), key=lambda kind: -most[kind])
    x = scale(0, max((s.get(kind, 0.0) for s in sums for kind in kinds), default=1.0), 0.0, 1.0)
    marks: list[Mark] = []
    for i, kind in enumerate(kinds):
        old, new, y = sums[0].get(kind, 0.0), sums[1].get(kind, 0.0), i * _ROW
        marks += [
            Text(0, y + 13, short(kind, 24)),
            Text(1, y + 13, f"{_time(old)} \u2192 {_time(new)}", "muted", "end", size=12),
            Bar(0, x(old), y + 19, 7, "pale", f"{kind}: baseline {_time(old)}"),
            Bar(0, x(new), y + 27, 7, "accent", f"{kind}: final {_time(new)}"),
        ]
    totals = [sum(s.values()) for s in sums]
    return Figure(
        name="time-by-kind",
        title="Where the time goes, by kind of layer",
        summary=f"All layers together: baseline {totals[0]:.3f} ms, final {totals[1]:.3f} ms.",
        height=_ROW * len(kinds) + 2,
        marks=tuple(marks),
        columns=("kind", "baseline ms", "final ms", "baseline share", "final share"),
        rows=tuple(
            (
                kind,
                *(s.get(kind, 0.0) for s in sums),
                *(s.get(kind, 0.0) / (t or 1) for s, t in zip(sums, totals, strict=True)),
            )
            for kind in kinds
        ),
        legend=(("pale", "baseline"), ("accent", "final")),
    )


def slowest(layers: Sequence[Mapping[str, Any]], which: str) -> Figure:
    """The slowest layers of one net; ``which`` is baseline or final."""
    ranked = sorted(layers, key=lambda layer: -layer["ms"])
    drawn = [layer for layer in ranked[:_MOST] if layer["ms"] > 0]
    total = sum(layer["ms"] for layer in layers) or 1.0
    x = scale(0, ranked[0]["ms"], 0.0, 1.0)
    marks: list[Mark] = []
    for i, layer in enumerate(drawn):
        y, share = i * 34, layer["ms"] / total
        marks += [
            Text(0, y + 13, short(_name(layer), 26), size=12),
            Text(1, y + 13, f"{_time(layer['ms'])}, {share:.0%}", "muted", "end", size=12),
            Bar(
                0,
                x(layer["ms"]),
                y + 18,
                8,
                "accent",
                f"{layer['name']} ({layer['kind']}): {_time(layer['ms'])}",
            ),
        ]
    return Figure(
        name=f"slowest-{which}",
        title=f"The slowest layers of the {which} net",
        summary="; ".join(f"{_name(layer)} {_time(layer['ms'])}" for layer in ranked[:3]) + ".",
        height=34 * len(drawn),
        marks=tuple(marks),
        columns=("layer", "kind", "ms", "share", "MACs"),
        rows=tuple((la["name"], la["kind"], la["ms"], la["ms"] / total, la.get("macs")) for la in ranked),
    )


def widths(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Output channels of every layer that both nets have; None when none is narrower or wider."""
    old = {layer["name"]: layer for layer in before}
    pairs = [(old[layer["name"]], layer) for layer in after if layer["name"] in old]
    changed = [(one, two) for one, two in pairs if one["out"] != two["out"]]
    if not changed:
        return None
    marks: list[Mark] = []
    x = scale(0, max(max(1.0, two["out"] / one["out"]) for one, two in changed), 0.43, 0.76)
    shown = [
        pair for pair in changed if pair[0]["kind"] != "depthwise"
    ] or changed  # as wide as the one before
    for i, (one, two) in enumerate(shown):
        y = 22 * i
        tip = f"{one['name']}: {one['out']} channels, now {two['out']} ({two['out'] / one['out']:.0%})"
        marks += [
            Text(0, y + 14, short(one["name"], 20), size=12),
            Bar(x(0), x(1), y + 4, 13, "line"),
            Bar(x(0), x(two["out"] / one["out"]), y + 4, 13, "accent", tip),
            Text(1, y + 14, f"{one['out']} \u2192 {two['out']}", "muted", "end", size=12),
        ]
    return Figure(
        name="widths",
        title="Channels of each layer, before and after",
        summary=f"{len(changed)} of {len(pairs)} layers changed their width; together "
        f"{sum(one['out'] for one, _ in changed):,} channels, now {sum(two['out'] for _, two in changed):,}.",
        height=22 * len(shown) + 2,
        marks=tuple(marks),
        columns=("layer", "kind", "before", "after", "share"),
        rows=tuple((o["name"], o["kind"], o["out"], t["out"], t["out"] / o["out"]) for o, t in pairs),
        legend=(("accent", "after"), ("line", "before")),
    )


def _time(ms: float) -> str:
    return f"{ms:.3g} ms" if ms >= 0.1 else f"{1000 * ms:.1f} \u00b5s"


def _name(layer: Mapping[str, Any]) -> str:
    """What lies in no module, such as ``(net)``, is told apart by its kind."""
    return f"{layer['kind']} {layer['name']}" if layer["name"].startswith("(") else str(layer["name"])


def _by_kind(layers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    for layer in layers:
        sums[layer["kind"]] += layer["ms"]
    return dict(sums)
