"""A found net and the baseline trained again with another seed, and what follows from several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fast_objective import SPACE, study_spec
from optuna.trial import FixedTrial

from compress.store import Store
from search.candidate import Candidate
from search.retrain import Retrained, f1_gain, retrain, time_ratio
from search.sample import suggest
from search.space import Space

SMALL = Space.model_validate({**SPACE, "image_size": 16})


def net(channels: int) -> Candidate:
    """Of two layers."""
    drawn: dict[str, Any] = {"slot1.Conv.channels": channels, "slot1.Conv.stride": 2, "slot2.block": "Pass"}
    return suggest(SMALL, FixedTrial({**drawn, "head.channels": 32}), classes=10)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Retrained, Retrained, list[str]]:
    """The same twice, from one store; and what the second had to say."""
    from hurry import hurry

    with pytest.MonkeyPatch.context() as patch:
        hurry(patch.setattr)
        folder = tmp_path_factory.mktemp("retrain")
        (folder / "base.yaml").write_text(net(128).to_yaml())
        spec = study_spec(
            data={"kind": "digits", "image_size": 16},
            baseline={"kind": "yaml", "path": str(folder / "base.yaml")},
            train={"epochs": 1, "batch_size": 64, "augment": {"kind": "none"}},
            runtime={"kind": "onnxruntime"},
            space=SMALL.canonical(),
        )
        store, said = Store(folder / "store"), list[str]()
        first = retrain(spec, net(8), 7, store=store, log=lambda line: None)
        return first, retrain(spec, net(8), 7, store=store, log=said.append), said


def test_it_is_measured_beside_its_baseline_and_kept(once: tuple[Retrained, Retrained, list[str]]) -> None:
    first, again, said = once
    assert first.seed == 7
    assert first.net.base.f1_test == first.base.f1_test
    assert first.ratio == first.net.time  # by default the metric counts the same
    assert first.ratio.median < 1
    assert first.net.params < first.base.params
    assert len(first.targets) == len(first.net.predictions_test)
    assert (again.net, again.base) == (first.net, first.base)
    assert not [line for line in said if line.startswith("epoch")]


def scored(one: Retrained, flips: int, ratio: float) -> Retrained:
    """With so many of the test images right that the baseline has wrong, and a time of its own."""
    base = one.targets.copy()
    base[:40] = (base[:40] + 1) % 10
    mine = base.copy()
    mine[:flips] = one.targets[:flips]
    f1 = [float(np.mean([_f1(one.targets, said, c) for c in range(10)])) for said in (mine, base)]
    interval = ratio * 0.9, ratio * 1.1
    latency = replace(one.net.latency, ratio=ratio, ratio_interval=interval)
    return Retrained(
        one.seed,
        replace(one.net, f1_test=f1[0], predictions_test=tuple(mine), latency=latency),
        replace(one.base, f1_test=f1[1], predictions_test=tuple(base)),
        one.targets,
    )


def _f1(targets: np.ndarray, said: np.ndarray, label: int) -> float:
    hits = np.sum((targets == label) & (said == label))
    return 2 * float(hits) / float(np.sum(targets == label) + np.sum(said == label))


def test_means_and_intervals(once: tuple[Retrained, Retrained, list[str]]) -> None:
    several = [scored(once[0], flips, ratio) for flips, ratio in ((20, 0.4), (25, 0.5), (30, 0.4))]
    gain, ratio = f1_gain(several), time_ratio(several)
    assert gain.mean == pytest.approx(np.mean([one.net.f1_test - one.base.f1_test for one in several]))
    assert 0 < gain.low < gain.mean < gain.high
    assert ratio.mean == pytest.approx((0.4 * 0.5 * 0.4) ** (1 / 3))
    assert 0.3 < ratio.low < ratio.mean < ratio.high < 0.65
    alone = [several[0]]  # no scatter: the test images and the clock are known all the same
    assert f1_gain(alone).low < f1_gain(alone).mean
    assert time_ratio(alone).low == pytest.approx(0.36, abs=0.02)
    same = [scored(once[0], 0, 1.0)] * 3
    assert f1_gain(same).has_zero
