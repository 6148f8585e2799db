"""The score, stage by stage: what each changed of the cost term and of the F1 term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.report.marks import Bar, Figure, Line, Mark, Text, grid, scale, short, signed, ticks
from compress.report.metric import metric_of

_ROW, _BAR = 62, 13


@dataclass(frozen=True)
class Part:
    """A step's score on one split as a sum: ``cost`` (time or MACs) and ``f1``."""

    label: str
    kept: bool
    cost: float
    f1: float

    @property
    def score(self) -> float:
        return self.cost + self.f1


def parts(report: Mapping[str, Any], split: str) -> list[Part]:
    """The measured steps of a report, the baseline first; ``split`` is val or test.

    The F1 term is all there is at no time and no MACs.
    """
    metric = metric_of(report, split)
    out = []
    for step in (report["baseline"], *report["steps"]):
        if step[f"score_{split}"] is None:
            continue
        f1 = metric.points(f1=step[f"f1_{split}"], time=0.0, macs=0)
        out.append(Part(step["label"], step["kept"], step[f"score_{split}"] - f1, f1))
    return out


def waterfall(found: Sequence[Part], split: str, cost: str) -> Figure:
    """``cost`` names the first term: time or MACs."""
    base, final = found[0], [part for part in found if part.kept][-1]
    changes = _changes(found)
    ends = [0.0, *(v for part in (base, final) for v in (part.cost, part.f1, part.score))]
    ends += [
        v for start, part in changes for v in (start.score, start.score + part.cost - start.cost, part.score)
    ]
    x = scale(min(ends), max(ends) * 1.02, 0.0, 1.0)
    bottom = _ROW * (len(changes) + 2) - 14
    marks: list[Mark] = grid(ticks(min(ends), max(ends)), x, 0, bottom)
    marks += _sum(base, "baseline", x, 0, cost)
    for row, (start, part) in enumerate(changes, 1):
        marks += _change(start, part, x, row * _ROW, cost)
    marks += _sum(final, f"final: {short(final.label, 14)}", x, _ROW * (len(changes) + 1), cost)
    return Figure(
        name=f"score-{split}",
        title=f"Score on {split}, stage by stage (lower is better)",
        summary=f"Baseline {base.score:.3f}, final {final.score:.3f}. "
        + " ".join(
            f"{part.label}: {cost} {signed(part.cost - start.cost)}, F1 {signed(part.f1 - start.f1)}"
            + ("." if part.kept else ", not kept.")
            for start, part in changes
        ),
        height=bottom + 24,
        marks=tuple(marks),
        columns=(
            "stage",
            "kept",
            f"{cost} term",
            "F1 term",
            f"score {split}",
            f"change of {cost}",
            "change of F1",
        ),
        rows=(
            (base.label, "-", base.cost, base.f1, base.score, None, None),
            *(
                (p.label, "yes" if p.kept else "no", p.cost, p.f1, p.score, p.cost - s.cost, p.f1 - s.f1)
                for s, p in changes
            ),
        ),
        legend=(
            ("muted", f"{cost} term"),
            ("pale", "F1 term"),
            ("better", "a change for the better"),
            ("worse", "for the worse"),
        ),
    )


def _changes(found: Sequence[Part]) -> list[tuple[Part, Part]]:
    """Each stage after the step it started from."""
    out, at = [], found[0]
    for part in found[1:]:
        out.append((at, part))
        at = part if part.kept else at
    return out


def _sum(part: Part, label: str, x: Any, y: float, cost: str) -> list[Mark]:
    """The whole score as two stacked terms."""
    f1_end = part.score if part.f1 >= 0 else part.f1
    f1_start = part.cost if part.f1 >= 0 else 0.0
    return [
        Text(0, y + 13, label),
        Text(1, y + 13, f"{part.score:.3f}", anchor="end"),
        Bar(x(0), x(part.cost), y + 21, 20, "muted", f"{part.label}: {cost} term {part.cost:.3f}"),
        Bar(x(f1_start), x(f1_end), y + 21, 20, "pale", f"{part.label}: F1 term {part.f1:.3f}"),
    ]


def _change(start: Part, part: Part, x: Any, y: float, cost: str) -> list[Mark]:
    """Two steps from the score before to the score after: the cost's, then F1's."""
    by_cost, by_f1 = part.cost - start.cost, part.f1 - start.f1
    middle, faint = start.score + by_cost, 1.0 if part.kept else 0.4
    label = short(part.label, 16 if part.kept else 12) + ("" if part.kept else " (not kept)")
    return [
        Line(x(start.score), y - 20, x(start.score), y + 22, "muted", dashed=True),
        Text(0, y + 13, label, "ink" if part.kept else "muted", halo=True),
        Text(1, y + 13, f"{cost} {signed(by_cost)}, F1 {signed(by_f1)}", "muted", "end", size=12, halo=True),
        _step(start.score, middle, x, y + 20, f"{part.label}: {cost} term {signed(by_cost)}", faint),
        Line(x(middle), y + 20, x(middle), y + 21 + 2 * _BAR, "muted"),
        _step(middle, part.score, x, y + 21 + _BAR, f"{part.label}: F1 term {signed(by_f1)}", faint),
    ]


def _step(start: float, end: float, x: Any, y: float, tip: str, opacity: float) -> Bar:
    return Bar(x(start), x(end), y, _BAR, "better" if end <= start else "worse", tip, opacity)
