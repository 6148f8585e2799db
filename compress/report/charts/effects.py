"""What each stage earned: effects with intervals, and chains ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compress.report.marks import Dot, Figure, Line, Mark, Role, Text, grid, scale, short, signed, ticks

_ROW, _HEAD = 44, 22


def effects(found: Sequence[Mapping[str, Any]], split: str = "val") -> Figure | None:
    """Score with minus score without each stage, mean over its contexts and seeds; left of 0 it earned.

    Args:
        found: the ``effects`` of ``ablation.json``.
        split: val, by which verdicts go, or test, where an effect is noise or more.
    """
    rows = [(one, one[f"score_{split}"]) for one in found if one.get(f"score_{split}")]
    return _forest(
        [(label_of(one, found), est, one["verdict"] if split == "val" else _noise(est)) for one, est in rows],
        name=f"effects-{split}",
        title=f"What each stage changes of the score on {split}",
        words=("earns", "costs"),
    )


def ranking(found: Sequence[Mapping[str, Any]], name: str, title: str) -> Figure | None:
    """Chains by how far their score on val is behind the best's; ties with it are pale."""
    rows = [(chain_label(one, found), one["behind"], place(one)) for one in found]
    return _forest(rows, name=name, title=title, words=("", "behind the best"))


def label_of(one: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """A stage, with its strength, and its runtime where ``among`` has several."""
    strength = ", ".join(f"{k.rpartition('.')[2]} {v}" for k, v in one.get("set", {}).items())
    runtime, several = one["runtime"], len({other["runtime"] for other in among}) > 1
    return f"{one['stage']}{f' {strength}' if strength else ''}{f' ({runtime})' if several else ''}"


def chain_label(one: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """The same of a RANK: its stages in order."""
    return label_of({**one, "stage": "\u2192".join(one["chain"]) or "baseline"}, among)


def place(one: Mapping[str, Any]) -> str:
    """Of a RANK: best of its runtime, tie with the best, or behind."""
    return "best" if one["best"] else "tie" if one["tied"] else "behind"


def _forest(
    rows: Sequence[tuple[str, Mapping[str, Any], str]], *, name: str, title: str, words: tuple[str, str]
) -> Figure | None:
    rows = [row for row in rows if row[1]["mean"] is not None]
    if not rows:
        return None
    spans = [_span(est) for _, est, _ in rows]
    low, high = min(0.0, *(s[0] for s in spans)), max(0.0, *(s[1] for s in spans))
    pad = 0.06 * (high - low or 1.0)
    x, bottom = scale(low - pad, high + pad), _HEAD + _ROW * len(rows)
    marks: list[Mark] = grid(ticks(low, high), x, _HEAD - 4, bottom)
    marks.append(Line(x(0), _HEAD - 8, x(0), bottom, "ink", 1.5))
    if words[0] and x(0) > 0.16:
        marks.append(Text(x(0), 12, words[0], "muted", "end", -6, 12))
    if words[1] and x(0) < 0.84:
        marks.append(Text(x(0), 12, words[1], "muted", "start", 6, 12))
    for i, ((label, est, verdict), span) in enumerate(zip(rows, spans, strict=True)):
        y, role = _HEAD + _ROW * i, _role(est, verdict)
        tip = f"{label}: {signed(est['mean'])} ({signed(span[0])} to {signed(span[1])}), {verdict}"
        marks += [
            Text(0, y + 14, short(label, 36), halo=True),
            Text(1, y + 14, f"{signed(est['mean'])}, {verdict}", "muted", "end", size=12, halo=True),
            Line(x(span[0]), y + 28, x(span[1]), y + 28, role, 3),
            Dot(x(est["mean"]), y + 28, role, tip, hollow=verdict in ("tie", "may be noise")),
        ]
    return Figure(
        name=name,
        title=title,
        summary=" ".join(f"{label}: {signed(est['mean'])}, {verdict}." for label, est, verdict in rows),
        height=bottom + 22,
        marks=tuple(marks),
        columns=("", "mean", "from", "to", "verdict"),
        rows=tuple((label, est["mean"], est["low"], est["high"], verdict) for label, est, verdict in rows),
        legend=(("better", "better"), ("worse", "worse"), ("muted", "not told from 0, or no interval")),
    )


def _span(est: Mapping[str, Any]) -> tuple[float, float]:
    """The interval, or the mean alone where there is none."""
    return (
        est["mean"] if est["low"] is None else est["low"],
        est["mean"] if est["high"] is None else est["high"],
    )


def _noise(est: Mapping[str, Any]) -> str:
    """What an interval says by itself; no verdict."""
    told = est["low"] is not None and not est["low"] <= 0 <= est["high"]
    return "more than noise" if told else "may be noise"


def _role(est: Mapping[str, Any], verdict: str) -> Role:
    if verdict == "best":
        return "better"
    if est["low"] is None or verdict in ("tie", "useless", "skipped") or est["low"] <= 0 <= est["high"]:
        return "muted"
    return "better" if est["mean"] < 0 else "worse"
