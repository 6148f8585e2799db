"""Candidates really trained: with pauses, and again beside the baseline with another seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fast_objective import SPACE, study_spec
from optuna.trial import FixedTrial
from tinynet import same, state

from compress.data.images import ImageSet
from compress.measure.score import F1Time
from compress.net import Net
from compress.runtimes.auto import AutoRuntime
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.stages.prune import Prune
from compress.store import Store
from compress.train import macro_f1, predict_logits
from search.candidate import Candidate
from search.objective import Measuring
from search.proxies import naswot
from search.records import MEASURED
from search.retrain import Retrained, f1_gain, retrain, time_ratio
from search.sample import suggest
from search.space import Space
from search.spec import Proxies, StudySpec

SMALL = Space.model_validate({**SPACE, "image_size": 16})


def net(channels: int) -> Candidate:
    """Of two layers."""
    drawn: dict[str, Any] = {"slot1.Conv.channels": channels, "slot1.Conv.stride": 2, "slot2.block": "Pass"}
    return suggest(SMALL, FixedTrial({**drawn, "head.channels": 32}), classes=10)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudySpec, Store]:
    """Of small nets on digits, and an empty store."""
    folder = tmp_path_factory.mktemp("retrain")
    (folder / "base.yaml").write_text(net(128).to_yaml())
    spec = study_spec(
        data={"kind": "digits", "image_size": 16},
        baseline={"kind": "yaml", "path": str(folder / "base.yaml")},
        train={"epochs": 3, "batch_size": 64, "augment": {"kind": "none"}},
        runtime={"kind": "onnxruntime"},
        space=SMALL.canonical(),
    )
    return spec, Store(folder / "store")


@pytest.fixture(scope="module")
def once(study: tuple[StudySpec, Store]) -> tuple[Retrained, Retrained, list[str]]:
    """The same twice, from one store; and what the second had to say."""
    from hurry import hurry

    with pytest.MonkeyPatch.context() as patch:
        hurry(patch.setattr)
        spec, store = study
        said = list[str]()
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


@pytest.mark.usefixtures("in_a_hurry", "once")  # the second for its trained baseline
def test_a_training_with_rungs_is_the_one_without(study: tuple[StudySpec, Store]) -> None:
    spec, store = study
    spec, said, one = spec.model_copy(update={"seed": 7}), list[str](), net(16)
    objective = Measuring(spec, store, said.append, said.append)
    early, later = objective.short(one, 1), objective.short(one, 2)
    assert early.keys() == later.keys() == set(MEASURED)
    assert objective.short(one, 1) == early  # as after a kill: it is not where it was

    again = Measuring(spec, store, said.append, said.append)
    lab = again._lab(one)
    assert again.short(one, 1)["f1"] == early["f1"]
    trained, cached = lab.train(lab.base_key, lab.recipe.train)
    assert not cached
    epochs = [line.split(":")[0] for line in said if line.startswith("epoch")]
    assert epochs == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    whole, _ = lab.train("without pauses", lab.recipe.train)
    assert same(state(trained), state(whole))

    paused = lab.train_until(lab.base_key, lab.recipe.train, 1)  # it is over: run again up to there
    assert macro_f1(lab.splits.val.targets, logits(paused, lab.splits.val).argmax(1)) == early["f1"]
    assert not any((store.root / "work").iterdir())


@pytest.mark.usefixtures("in_a_hurry", "once")
def test_later_trials_stand_beside_the_baseline_that_the_study_began_with(
    study: tuple[StudySpec, Store],
) -> None:
    """Not beside the time that another store has, nor in what ``auto`` would choose today."""
    spec, store = study
    said: list[str] = []
    objective = Measuring(
        spec.model_copy(update={"seed": 7, "runtime": AutoRuntime()}), store, said.append, _nothing
    )
    objective.take_up({"ms": 5000.0, "runtime": "onnxruntime"})
    assert objective._base_lab.recipe.runtime == OnnxRuntime()
    objective.costs(net(8), needed=False)
    assert not [line for line in said if "latency table" in line]
    assert 500 < objective.costs(net(16), needed=True)["ms"] < 50_000
    objective.costs(net(24), needed=True)
    (line,) = [line for line in said if "latency table" in line]
    assert "python -m compress calibrate --runtime onnxruntime --threads 1" in line


@pytest.mark.usefixtures("in_a_hurry", "once")
def test_who_measured_the_baseline_too_goes_on_in_the_runtime_that_is_noted(
    study: tuple[StudySpec, Store],
) -> None:
    spec, store = study
    spec = spec.model_copy(update={"seed": 7, "runtime": AutoRuntime()})
    objective = Measuring(spec, store, _nothing, _nothing)
    objective._known = {"ms": 1.0, "runtime": "onnxruntime"}  # as if auto chose that here
    assert objective.baseline_values()["runtime"] == "onnxruntime"
    objective.take_up({"ms": 1.0, "runtime": "openvino"})
    assert objective._base_lab.recipe.runtime.kind == "openvino"
    assert "_scorer" not in objective.__dict__


@pytest.mark.usefixtures("in_a_hurry", "once")
def test_scores_compare_with_the_baseline_that_the_study_began_with(study: tuple[StudySpec, Store]) -> None:
    """Not with the F1 and the time of one that was trained and timed again, as in another store."""
    spec, store = study
    spec = spec.model_copy(update={"seed": 7, "metric": F1Time(time="end_to_end")})

    def measured(base: dict[str, Any] | None = None) -> list[dict[str, float]]:
        objective = Measuring(spec, store, _nothing, _nothing)
        if base is not None:
            objective.take_up(base)
        return [objective.evaluate(net(8)), objective._with_score(0.8, {"ms": noted["ms"] / 2, "macs": 1e6})]

    began = Measuring(spec, store, _nothing, _nothing)
    noted = began.baseline_values()
    assert noted["score"] == 1.0
    assert list(noted["origins"]["baseline"]) == [str(spec.baseline.canonical()["path"])]
    found = measured()
    assert found[0]["score"] == began.score(net(8)).points_val
    worse = {**noted["scored_by"], "f1": noted["scored_by"]["f1"] / 2}
    later = measured({**noted, "scored_by": worse, "time_ms": 3 * noted["time_ms"]})
    for one, other in zip(found, later, strict=True):
        assert other["score"] < one["score"]  # its F1 is further above that of the study's baseline
        assert other["time_ms"] == pytest.approx(3 * one["time_ms"])
        assert {**one, "score": 0, "time_ms": 0} == {**other, "score": 0, "time_ms": 0}
    old = {name: value for name, value in noted.items() if name not in ("scored_by", "time_ms")}
    assert measured(old) == found  # of a study that an earlier version began: what is there now


@pytest.mark.usefixtures("in_a_hurry", "once")
def test_a_target_out_of_reach_is_known_before_the_training(study: tuple[StudySpec, Store]) -> None:
    spec, store = study
    whys = []
    for stage in (Prune(target=0.99), Prune(target=0.99, retry=(0.1,)), Prune(target=0.1)):
        staged = spec.model_copy(update={"seed": 7, "stages": (stage,)})
        whys.append(Measuring(staged, store, _nothing, _nothing).refusal(net(64)))
    assert whys[0] is not None
    assert "target 0.99 is out of reach" in whys[0]
    assert whys[1:] == [None, None]


@pytest.mark.usefixtures("in_a_hurry", "once")
def test_a_stopped_candidate_leaves_no_checkpoint(study: tuple[StudySpec, Store]) -> None:
    spec, store = study
    objective = Measuring(spec.model_copy(update={"seed": 7}), store, _nothing, _nothing)
    stopped = replace(net(16), train={"lr": 0.05})
    objective.short(stopped, 1)
    (left,) = (store.root / "work").iterdir()
    with store.lock(left.name):  # an equal one is being trained
        objective.forget(stopped)
    assert left.exists()
    objective.forget(stopped)
    assert not left.exists()


@pytest.mark.usefixtures("in_a_hurry", "once")
def test_its_checkpoint_stays_where_the_net_may_come_again_with_other_stages(
    study: tuple[StudySpec, Store],
) -> None:
    spec, store = study
    joint = {"stages": (Prune(target=0.1),), "search": {"stages[0].target": (0.1, 0.2)}}
    said, plain = list[str](), spec.model_copy(update={"seed": 7})
    objective = Measuring(plain.model_copy(update=joint), store, _nothing, said.append)
    trained = replace(net(16), train={"lr": 0.04})
    one, other = (replace(trained, values={"stages[0].target": target}) for target in (0.1, 0.2))
    objective.short(one, 1)
    objective.forget(one)
    objective.short(other, 2)
    epochs = [line.split(":")[0] for line in said if line.startswith("epoch")]
    assert epochs == ["epoch 1/3", "epoch 2/3"]
    Measuring(plain, store, _nothing, _nothing).forget(trained)
    assert not any((store.root / "work").iterdir())


@pytest.mark.usefixtures("in_a_hurry", "once")
def test_a_proxy_looks_at_the_images_of_a_net_s_own_size_and_reads_them_once(
    study: tuple[StudySpec, Store],
) -> None:
    spec, store = study
    proxies = Proxies(kind="naswot")
    objective = Measuring(spec.model_copy(update={"seed": 7, "proxies": proxies}), store, _nothing, _nothing)
    first, other = net(16), net(24)
    small, found = replace(other, image_size=12), [objective.proxy(first), objective.proxy(other)]
    assert objective._at_hand is not None
    assert objective._at_hand[0] == first.key  # nothing was read for the other one
    found.append(objective.proxy(small))
    for one, value in zip((first, other, small), found, strict=True):
        lab = objective._lab(one)
        assert lab.backbone.preprocess.size == one.image_size
        x = torch.tensor(lab.calib.images[::4]).permute(0, 3, 1, 2)  # of 128: a folder's lie class by class
        assert len(x) == 32
        assert naswot(lab.backbone.module, lab.backbone.preprocess.normalise(x)) == value


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


def logits(net: Net, data: ImageSet) -> np.ndarray:
    return predict_logits(net.module, data, net.preprocess)


def _nothing(line: str) -> None:
    """Takes a log."""


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
    targets = alone[0].targets
    nth = np.array([np.sum(targets[:i] == target) for i, target in enumerate(targets)])
    shots = replace(alone[0], groups=100 * targets + nth // 4)  # what is right for one of four is for all
    assert f1_gain([shots]).low < f1_gain(alone).low
    same = [scored(once[0], 0, 1.0)] * 3
    assert f1_gain(same).has_zero
