"""Found nets trained again beside the baseline, with other seeds: how much of what was found was luck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compress.ablation.estimates import Estimate, Noise, estimate
from compress.measure.draws import Draws
from compress.ratio import Ratio
from compress.step import Score
from search.candidate import Candidate
from search.objective import Measuring
from search.spec import StudySpec

if TYPE_CHECKING:
    from compress.store import Store

_SAMPLES = 1000


@dataclass(frozen=True)
class Retrained:
    """A found net and the study's baseline, both trained fully from scratch with one seed.

    Attributes:
        net, base: scores of the exported nets, timed in turns.
        targets: classes of the test images; ``groups``: theirs, if they have any.
    """

    seed: int
    net: Score
    base: Score
    targets: np.ndarray
    groups: np.ndarray | None = None

    @property
    def ratio(self) -> Ratio:
        """Time over the baseline's, of the models alone as in a study, whatever its metric counts."""
        return Ratio(self.net.latency.ratio, *self.net.latency.ratio_interval)


def retrain(
    spec: StudySpec,
    candidate: Candidate,
    seed: int,
    *,
    store: Store,
    log: Callable[[str], None] = print,
) -> Retrained:
    """Train both by the study's ``train``, with ``seed`` in place of its own: other weights, other batches,
    and where the data has no split of its own other val images.

    What is in ``store`` is not computed again; a killed training goes on from its last epoch.

    Raises:
        InputError, CompressError: as ``compress.run``.
    """
    again = spec.model_copy(update={"seed": seed, "one_shot": None})
    objective = Measuring(again, store, log, log)
    base, test = objective.base.scored.score, objective.base.step.test
    assert test is not None  # the baseline's step has it
    return Retrained(seed, objective.score(candidate), base, test.targets, test.groups)


def f1_gain(found: Sequence[Retrained]) -> Estimate:
    """Mean F1 on test above the baseline's, with a 95 % interval for other seeds and other test images.

    The test images are the same with each seed, so their share of the error does not shrink with more.
    """
    gains = [one.net.f1_test - one.base.f1_test for one in found]
    draws = Draws.of(found[0].targets, found[0].groups, _SAMPLES)
    by_images = [draws.f1(one.net.predictions_test) - draws.f1(one.base.predictions_test) for one in found]
    return estimate(gains, Noise(0.0, float(np.var(np.mean(by_images, axis=0)))))


def time_ratio(found: Sequence[Retrained]) -> Estimate:
    """Geometric mean of the net's time relative to the baseline's, with a 95 % interval."""
    logs = [float(np.log(one.ratio.median)) for one in found]
    clock = sum(one.ratio.log_spread**2 for one in found) / len(found) ** 2
    return estimate(logs, Noise(clock, 0.0)).exp()
