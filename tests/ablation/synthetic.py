"""Scores of made-up nets with a known truth, for the statistics of ablations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, cast

import numpy as np

from compress.ablation.contrasts import Chain, Images, Measured, Seed
from compress.ablation.variants import Link
from compress.measure.draws import Draws
from compress.measure.score import F1Time
from compress.ratio import Ratio
from compress.step import Base, Latency, Score, Step

METRIC = F1Time()
CLASSES = 4


def links(*names: str) -> Chain:
    """A chain of stages whose index is their place in the alphabet."""
    return tuple(Link(ord(name[0]) - ord("a"), name) for name in names)


def images(count: int, digest: str) -> Images:
    return Images(np.arange(count, dtype=np.int64) % CLASSES, digest)


def predictions(targets: np.ndarray, wrong: np.ndarray) -> tuple[int, ...]:
    """The targets, but for the images in ``wrong`` (bool N)."""
    return tuple(((targets + wrong) % CLASSES).tolist())


def f1_of(targets: np.ndarray, said: tuple[int, ...]) -> float:
    return float(Draws(targets, np.ones((1, len(targets)), np.float32)).f1(said)[0])


def score(val: Images, test: Images, base: Score | None, wrong: Sequence[np.ndarray], ratio: Ratio) -> Score:
    """A score as the chain would give it for these mistakes (bool N on val, bool N on test) and this time."""
    said = [predictions(part.targets, mistakes) for part, mistakes in zip((val, test), wrong, strict=True)]
    f1 = [f1_of(part.targets, one) for part, one in zip((val, test), said, strict=True)]
    of = base.base if base else Base(f1[0], f1[1], 2.0, 1000, said[0], said[1])
    points = [
        METRIC.with_base(f1=base_f1, time=of.time_ms).points(f1=one, time=of.time_ms * ratio.median)
        for base_f1, one in zip((of.f1_val, of.f1_test), f1, strict=True)
    ]
    nothing = dict.fromkeys((field.name for field in fields(Score)), cast(Any, None))
    measured = {
        "f1_val": f1[0],
        "f1_test": f1[1],
        "points_val": points[0],
        "points_test": points[1],
        "latency": Latency(2.0, 2.0, 2.0, 100, ratio.median, (ratio.low, ratio.high)),
        "predictions_val": said[0],
        "predictions_test": said[1],
        "base": of,
        "time": ratio,
    }
    return Score(**{**nothing, **measured})


Truth = Callable[[Chain], tuple[float, float]]  # error rate and time ratio of a chain


def seed_of(
    number: int,
    chains: Sequence[Chain],
    truth: Truth,
    *,
    training: float = 0.0,
    clock: float = 0.005,
    count: int = 400,
    skipped: Callable[[Chain], bool] = lambda chain: False,
) -> Seed:
    """One seed's measurements.

    Images are hard or easy for all nets alike, as in life, so that nets err on much the same ones.

    Args:
        training: standard deviation of a chain's error rate from training anew.
        clock: of the logarithm of a time ratio.
    """
    rng = np.random.default_rng(number)
    val, test = images(count, f"{number:08x}"), images(count, "ffffffff")
    hardness = rng.random(count), np.random.default_rng(99).random(count)
    jitter = 0.02 * rng.standard_normal((2, count))
    found: dict[Chain, Measured] = {}
    base: Score | None = None
    beginnings = {c[:k] for c in chains for k in range(len(c) + 1)}
    for chain in sorted(beginnings, key=lambda one: (len(one), repr(one))):  # a set's order is the process's
        error, time = truth(chain)
        error += training * rng.standard_normal() if chain else 0.0
        measured = time * float(np.exp(clock * rng.standard_normal())) if chain else 1.0
        spread = float(np.exp(1.96 * clock)) if chain else 1.0
        ratio = Ratio(measured, measured / spread, measured * spread)
        own = 0.01 * rng.standard_normal((2, count)) + jitter
        wrong = [h + o < error for h, o in zip(hardness, own, strict=True)]
        made = score(val, test, base, wrong, ratio)
        base = base or made
        last = chain[-1].name if chain else "baseline"
        step = Step(last, last, "key", True, "", None if skipped(chain) else made, 0.0, False)
        found[chain] = Measured(made, step, repr(chain))
    return Seed(number, METRIC, found, {"val": val, "test": test})
