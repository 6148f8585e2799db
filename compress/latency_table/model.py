"""How long kernels take, learnt from whole nets that were timed.

The time of a net is taken as the sum of its kernels' times. A kernel's time is a sum of non-negative
costs (a launch, multiply-accumulates, elements moved, weights) that depend on its kind, fitted by least
squares of relative errors, pulled towards rough figures of a CPU. What these costs miss is a Gaussian
process over the kernels' shapes: kernels of one kind that are alike miss alike. It is conditioned on the
nets' times, which are sums over it, and on those of their modules where the runtime has a profiler: whole
nets say how much in all, modules say where.
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
_NOISE = 0.03  # relative error of a net's measured time
_PROFILED = 0.15  # the same of a module's in a profiler ...
_PROFILED_MS = 1e-3  # ... and milliseconds besides: profilers count in microseconds
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


@dataclass(frozen=True)
class Measured:
    """Kernels that were timed together: a whole net, or a module of one.

    Attributes:
        far: weights that no cache keeps, of the net's or the module's share of them.
        noise: standard deviation of ``ms``.
        net: whether it is a whole net, whose call costs something besides.
    """

    units: tuple[Unit, ...]
    ms: float
    far: float
    noise: float
    net: bool

    def costs(self) -> Counter[str]:
        found = Counter({"far": self.far, "net": float(self.net)})
        for unit in self.units:
            found.update(unit.costs())
        return found


Part = tuple[Sequence[int], float]
"""Of a net's kernels those of one module, by their places, and its milliseconds in a profiler."""


class LatencyModel:
    """Fitted to the kernels of nets, their measured milliseconds, and those of their modules.

    Args:
        parts: of each net; none where nothing was profiled.
    """

    def __init__(
        self,
        nets: Sequence[Sequence[Unit]],
        ms: Sequence[float],
        parts: Sequence[Sequence[Part]] | None = None,
    ) -> None:
        from scipy.linalg import cho_factor

        seen = _measured(nets, ms, parts or [()] * len(nets))
        self._cost = _fit(seen)
        self._seen = list(dict.fromkeys(unit for one in seen for unit in one.units))
        at = {unit: i for i, unit in enumerate(self._seen)}
        self._sums = np.zeros((len(seen), len(at)))  # milliseconds of each kernel seen, by its costs
        for row, one in zip(self._sums, seen, strict=True):
            for unit in one.units:
                row[at[unit]] += self._by_costs(unit)
        besides = [one.far * self._cost("far") + one.net * self._cost("net") for one in seen]
        missed = np.array([one.ms for one in seen]) - self._sums.sum(axis=1) - besides
        noise = np.diag([one.noise**2 for one in seen])
        self._gram = cho_factor(self._sums @ _alike(self._seen, self._seen) @ self._sums.T + noise)
        self._lesson: Floats = self._sums.T @ self._solved(missed)

    def predict(self, net: Sequence[Unit]) -> Prediction:
        """The time of a net. Its error is larger for kernels unlike any that were timed."""
        costs = np.array([self._by_costs(unit) for unit in net])
        total = self._cost("net") + sum(self.unit_ms(net))
        unknown = float(costs @ _alike(net, net) @ costs)
        shared = costs @ _alike(net, self._seen) @ self._sums.T
        unknown -= float(shared @ self._solved(shared))
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

    def _solved(self, right: Floats) -> Floats:
        from scipy.linalg import cho_solve

        solved: Floats = cho_solve(self._gram, right)
        return solved


def _measured(
    nets: Sequence[Sequence[Unit]], ms: Sequence[float], parts: Sequence[Sequence[Part]]
) -> list[Measured]:
    """The nets first, then all their modules."""
    found, modules = [], []
    for net, time, each in zip(nets, ms, parts, strict=True):
        far = net_costs(net)["far"]
        found.append(Measured(tuple(net), time, far, _NOISE * time, net=True))
        every = max(1, sum(unit.weights for unit in net))
        for places, took in each:
            units = tuple(net[i] for i in places)
            share = far * sum(unit.weights for unit in units) / every
            noise = math.hypot(_PROFILED * took, _PROFILED_MS)
            modules.append(Measured(units, took, share, noise, net=False))
    return found + modules


def _fit(seen: Sequence[Measured]) -> Callable[[str], float]:
    """Milliseconds of a cost, by its name: fitted in two steps, for there are more costs than nets.

    First what launches, arithmetic, moving and weights cost at all in this runtime, relative to the rough
    figures; then each kind of them around that.
    """
    rows = [{name: amount * rough(name) for name, amount in one.costs().items()} for one in seen]
    times = np.array([one.ms for one in seen])
    weights = _NOISE * times / [one.noise for one in seen]  # 1 for a net
    names = sorted({name for row in rows for name in row})
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    groups = sorted({_group(name) for name in names})
    within = np.array([[_group(name) == group for group in groups] for name in names], dtype=float)
    scale = float(
        np.median([time / row.sum() for time, row, one in zip(times, table, seen, strict=True) if one.net])
    )
    by_group = _least_squares(table @ within * scale, times, weights)
    # What comes out as free is only hidden behind the others: it must not be pulled towards nothing.
    least = _LEAST_GROUP * float(np.median(by_group[by_group > 0]))
    group = dict(zip(groups, np.maximum(by_group, least) * scale, strict=True))
    around = np.array([group[_group(name)] for name in names])
    fitted = dict(zip(names, _least_squares(table * around, times, weights) * around, strict=True))

    def cost(name: str) -> float:
        return rough(name) * float(fitted.get(name, group.get(_group(name), scale)))

    return cost


def _group(cost: str) -> str:
    """Costs that the first step takes for one; far weights are weights."""
    what = cost.split(":")[0]
    return "weights" if what == "far" else what


def _least_squares(table: Floats, times: Floats, weights: Floats) -> Floats:
    """Factors of the columns, none negative, with the least relative errors; pulled towards 1."""
    from scipy.optimize import nnls

    size = table.shape[1]
    left = np.vstack([table * (weights / times)[:, None], _PULL * np.eye(size)])
    right = np.concatenate([weights, np.full(size, _PULL)])
    factors: Floats = nnls(left, right)[0]
    return factors


def _alike(one: Sequence[Unit], other: Sequence[Unit]) -> Floats:
    """Covariance of what the costs miss: |one| x |other|."""
    kinds = np.array([unit.kind for unit in one])[:, None] == np.array([unit.kind for unit in other])[None]
    a, b = (np.array([unit.place() for unit in units]) for units in (one, other))
    far = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    covariance: Floats = kinds * _MISSED**2 * np.exp(-np.maximum(far, 0) / 2)
    return covariance
