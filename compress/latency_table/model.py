"""How long kernels take, learnt from whole nets that were timed.

The time of a net is taken as the sum of its kernels' times. A kernel's time is a sum of non-negative
costs (a launch, multiply-accumulates, elements moved, weights) that depend on its kind, fitted by least
squares of relative errors, pulled towards rough figures of a CPU. What these costs miss is a Gaussian
process over the kernels' shapes: kernels of one kind that are alike miss alike. It is conditioned on the
nets' times, which are sums over it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.latency_table.units import Unit, net_costs, rough

Floats = NDArray[np.float64]

_PULL = 0.1  # how much the rough figures count beside one net's time
_MISSED = 0.3  # how far a kernel's time may lie from its costs, relative
_NOISE = 0.03  # relative error of a measured time
_LEAST_GROUP = 0.5  # of the middle one of launches, arithmetic, weights and so on
_LEAST = 0.3  # of a kernel's costs: what remains of it whatever was missed


@dataclass(frozen=True)
class Prediction:
    """Attributes:
    ms: milliseconds of one image.
    error: its standard deviation.
    """

    ms: float
    error: float


class LatencyModel:
    """Fitted to the kernels of nets and their measured milliseconds."""

    def __init__(self, nets: Sequence[Sequence[Unit]], ms: Sequence[float]) -> None:
        times = np.asarray(ms, dtype=np.float64)
        self._cost = _fit(nets, times)
        self._seen = list(dict.fromkeys(unit for net in nets for unit in net))
        at = {unit: i for i, unit in enumerate(self._seen)}
        self._sums = np.zeros((len(nets), len(at)))  # milliseconds of each kernel seen, by its costs
        for row, net in zip(self._sums, nets, strict=True):
            for unit in net:
                row[at[unit]] += self._by_costs(unit)
        missed = times - self._sums.sum(axis=1) - [self._overhead(net) for net in nets]
        noise = np.diag((_NOISE * times) ** 2)
        self._gram = self._sums @ _alike(self._seen, self._seen) @ self._sums.T + noise
        self._lesson: Floats = self._sums.T @ np.linalg.solve(self._gram, missed)

    def predict(self, net: Sequence[Unit]) -> Prediction:
        """The time of a net. Its error is larger for kernels unlike any that were timed."""
        costs = np.array([self._by_costs(unit) for unit in net])
        total = self._cost("net") + sum(self.unit_ms(net))
        unknown = float(costs @ _alike(net, net) @ costs)
        shared = costs @ _alike(net, self._seen) @ self._sums.T
        unknown -= float(shared @ np.linalg.solve(self._gram, shared))
        return Prediction(total, math.hypot(math.sqrt(max(unknown, 0.0)), _NOISE * total))

    def unit_ms(self, net: Sequence[Unit]) -> list[float]:
        """Milliseconds of each kernel; with what a call takes besides they are ``predict``."""
        missed: Floats = _alike(net, self._seen) @ self._lesson
        far = net_costs(net)["far"] * self._cost("far") / max(1, sum(unit.weights for unit in net))
        return [
            self._by_costs(unit) * max(1 + float(m), _LEAST) + far * unit.weights
            for unit, m in zip(net, missed, strict=True)
        ]

    def _by_costs(self, unit: Unit) -> float:
        return sum(amount * self._cost(name) for name, amount in unit.costs().items())

    def _overhead(self, net: Sequence[Unit]) -> float:
        return sum(amount * self._cost(name) for name, amount in net_costs(net).items())


def _fit(nets: Sequence[Sequence[Unit]], times: Floats) -> Callable[[str], float]:
    """Milliseconds of a cost, by its name: fitted in two steps, for there are more costs than nets.

    First what launches, arithmetic, moving and weights cost at all in this runtime, relative to the rough
    figures; then each kind of them around that.
    """
    rows: list[dict[str, float]] = []
    for net in nets:
        row = Counter(net_costs(net))
        for unit in net:
            row.update(unit.costs())
        rows.append({name: amount * rough(name) for name, amount in row.items()})
    names = sorted({name for row in rows for name in row})
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    groups = sorted({_group(name) for name in names})
    within = np.array([[_group(name) == group for group in groups] for name in names], dtype=float)
    scale = float(np.median(times / table.sum(axis=1)))
    by_group = _least_squares(table @ within * scale, times)
    # What comes out as free is only hidden behind the others: it must not be pulled towards nothing.
    least = _LEAST_GROUP * float(np.median(by_group[by_group > 0]))
    group = dict(zip(groups, np.maximum(by_group, least) * scale, strict=True))
    around = np.array([group[_group(name)] for name in names])
    fitted = dict(zip(names, _least_squares(table * around, times) * around, strict=True))

    def cost(name: str) -> float:
        return rough(name) * float(fitted.get(name, group.get(_group(name), scale)))

    return cost


def _group(cost: str) -> str:
    """Costs that the first step takes for one; far weights are weights."""
    what = cost.split(":")[0]
    return "weights" if what == "far" else what


def _least_squares(table: Floats, times: Floats) -> Floats:
    """Factors of the columns, none negative, with the least relative errors; pulled towards 1."""
    from scipy.optimize import nnls

    size = table.shape[1]
    left = np.vstack([table / times[:, None], _PULL * np.eye(size)])
    right = np.concatenate([np.ones(len(times)), np.full(size, _PULL)])
    factors: Floats = nnls(left, right)[0]
    return factors


def _alike(one: Sequence[Unit], other: Sequence[Unit]) -> Floats:
    """Covariance of what the costs miss: |one| x |other|."""
    kinds = np.array([unit.kind for unit in one])[:, None] == np.array([unit.kind for unit in other])[None]
    a, b = (np.array([unit.place() for unit in units]) for units in (one, other))
    far = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    covariance: Floats = kinds * _MISSED**2 * np.exp(-np.maximum(far, 0) / 2)
    return covariance
