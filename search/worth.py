"""Which candidates are best where several objectives count: those that the front would be poorer without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from search.hypervolume import by_gain
from search.records import lower
from search.spec import DIRECTIONS

_WORTH = 2.0  # times the usual costs: what takes more is worth nothing, however exact


def best_first(
    measured: Sequence[Mapping[str, float]], objectives: Sequence[str], base: Mapping[str, float]
) -> list[int]:
    """Indices of the candidates; of equals, the better score first.

    Of several objectives, by what each adds to the volume that all dominate, from F1 0 and twice the
    baseline's costs on, or twice the candidates' median where that is higher; see ``hypervolume.by_gain``.
    By domination alone whatever is fastest would be among the best, be it no better than a guess.

    Args:
        measured: the objectives and ``score`` of each.
        base: the baseline's.
    """
    by_score = sorted(range(len(measured)), key=lambda i: measured[i]["score"])
    if len(objectives) == 1:
        names = {name: DIRECTIONS[name] for name in objectives}
        return sorted(by_score, key=lambda i: lower(measured[i], names))
    costs = [name for name in objectives if name != "f1"]
    exact = "f1" in objectives
    points = [
        (one["f1"] if exact else 1.0, *(one[name] for name in costs))
        for one in (measured[i] for i in by_score)
    ]
    most = [_WORTH * max(base[c], median(one[c] for one in measured)) for c in costs]
    return [by_score[i] for i in by_gain(points, (0.0, *most))]
