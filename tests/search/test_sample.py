"""What is drawn from a space: always valid nets, parameters with one distribution each."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from spaces import FILES, load, tiny

from compress import yamlio
from compress.models import arch, sizes
from compress.train import TrainSpec
from search.candidate import Candidate
from search.sample import suggest
from search.space import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)


def drawn(space: Space, count: int, sampler: optuna.samplers.BaseSampler) -> list[Candidate]:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    found = []
    for i in range(count):
        trial = study.ask()
        found.append(suggest(space, trial, classes=3))
        study.tell(trial, [i % 7, i % 3])
    return found


def check(space: Space, candidate: Candidate) -> None:
    """It is a net, and within the bounds."""
    plan = arch.plan(candidate.model, size=candidate.image_size)
    assert plan.classes == 3
    windows = [layer.windows[0] for row in plan.rows for layer in row if layer.windows]
    total = math.prod(window.stride for window in windows)
    assert space.total_stride.least <= total <= space.total_stride.most
    *_, last, _, _ = sizes.trace(plan.rows, (candidate.image_size,) * 2)  # then the mean, and the classes
    assert last is not None
    assert min(last) >= max(space.least_map, candidate.image_size // total)


@pytest.mark.parametrize("name", FILES)
def test_every_draw_is_valid(name: str) -> None:
    space = load(name)
    candidates = drawn(space, 300, optuna.samplers.RandomSampler(seed=0))
    for candidate in candidates:
        check(space, candidate)
        candidate.training(TrainSpec())
    assert len({candidate.digest for candidate in candidates}) > 250


@pytest.mark.parametrize("name", FILES)
def test_a_parameter_has_one_distribution(name: str) -> None:
    """Optuna refuses a categorical that changes; a number that does would be learnt wrong."""
    space, seen = load(name), {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(200):
        trial = study.ask()
        suggest(space, trial)
        for key, distribution in trial.distributions.items():
            assert seen.setdefault(key, distribution) == distribution, key
    if name == "quickstart":
        assert set(seen) == NAMES


NAMES = {  # of the quickstart's space; a study in storage knows them
    *("image_size", "head.channels"),
    *("slot1.Conv.channels", "slot1.Conv.stride"),
    *("slot2.block", "slot2.Conv.channels", "slot2.Conv.stride"),
    *(f"slot2.InvertedResidualv2.{key}" for key in ("channels", "expansion", "stride")),
    *("slot3.block", "slot3.block(DWConv|InvertedResidualv2|InvertedResidualv3)"),
    *("slot3.DWConv.channels", "slot3.DWConv.stride"),
    *(f"slot3.InvertedResidualv2.{key}" for key in ("repeat", "channels", "expansion", "stride")),
    *(f"slot3.InvertedResidualv3.{key}" for key in ("repeat", "channels", "expansion", "stride")),
    *("slot3.InvertedResidualv3.kernel", "slot3.InvertedResidualv3.se"),
}


def test_a_step_gives_numbers_as_they_are_written() -> None:
    """4.6 and not 4.6000000000000005."""
    candidates = drawn(load("competition"), 40, optuna.samplers.RandomSampler(seed=2))
    rows = [row for c in candidates for row in c.model["backbone"] if row[1] == "InvertedResidualv3"]
    assert len({row[2][1] for row in rows}) > 20
    assert all(row[2][1] == float(f"{row[2][1]:.1f}") for row in rows)


def test_the_last_map_is_not_too_small() -> None:
    """On 16 px a total stride of 4 is the most, though 32 is allowed."""
    slots = [{"blocks": [{"kind": "Conv", "channels": 16, "stride": [1, 2, 4]}]}] * 3
    space = Space.model_validate(tiny(slots=slots, image_size=[16, 128], least_map=4))
    smallest = {16: 16, 128: 128}
    for candidate in drawn(space, 60, optuna.samplers.RandomSampler(seed=0)):
        check(space, candidate)
        strides = math.prod(row[2][2] for row in candidate.model["backbone"][:3])
        size = candidate.image_size
        smallest[size] = min(smallest[size], size // strides)
    assert smallest == {16: 4, 128: 4}


SAMPLERS = {
    "tpe": lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=5, multivariate=True, group=True),
    "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=8),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_samplers_that_learn_draw_valid_nets(sampler: str) -> None:
    space = load("quickstart")
    for candidate in drawn(space, 25, SAMPLERS[sampler]()):
        check(space, candidate)


def test_one_seed_gives_one_sequence() -> None:
    space = load("cpu")
    one, other = (drawn(space, 5, optuna.samplers.RandomSampler(seed=3)) for _ in range(2))
    assert one == other


def test_nothing_is_asked_where_there_is_no_choice() -> None:
    candidate = suggest(Space.model_validate(tiny()), FixedTrial({}))
    assert candidate.model["backbone"] == [
        [1, "Conv", [16, 3, 2, None, 1, "ReLU"]],
        [1, "Conv", [24, 3, 2, None, 1, "ReLU"]],
        [1, "Conv", [32, 1, 1, None, 1, "ReLU"]],
        [1, "GlobalAvgPool", []],
        [1, "FixedConv", [6, 1, 1, None, 1, None]],
    ]
    assert (candidate.image_size, candidate.train) == (32, {})


def test_a_restricted_choice_is_a_parameter_of_its_own() -> None:
    strided = [{"kind": kind, "channels": 16, "stride": [1, 2, 4]} for kind in ("Conv", "DWConv")]
    slots = [{"blocks": [*strided, {"kind": "Pass"}]}] * 2
    space = Space.model_validate(tiny(slots=slots, total_stride={"least": 4, "most": 8}))
    first = {"slot1.block": "Conv", "slot1.Conv.stride": 4}
    second = {"slot2.block": "DWConv", "slot2.DWConv.stride(1|2)": 2}
    rows = suggest(space, FixedTrial({**first, **second})).model["backbone"]
    assert [row[2][2] for row in rows[:2]] == [4, 2]
    first = {"slot1.block": "Pass"}
    second = {"slot2.block(Conv|DWConv)": "Conv"}  # and 4 is its one stride then
    rows = suggest(space, FixedTrial({**first, **second})).model["backbone"]
    assert rows[0] == [1, "Conv", [16, 3, 4, None, 1, "ReLU"]]


@given(st.data())
@settings(max_examples=40)
def test_whatever_the_space_its_nets_are_valid(data: st.DataObject) -> None:
    kinds = ["Conv", "DWConv", "InvertedResidualv2", "InvertedResidualv3", "MBConv"]
    slots = []
    for _ in range(data.draw(st.integers(1, 4))):
        blocks: list[dict[str, Any]] = [
            {"kind": kind, "channels": {"low": 5, "high": 40, "step": 5}, "stride": strides}
            for kind in data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True))
            if (strides := data.draw(st.sampled_from([1, [1, 2], [1, 3], [2, 1, 4]])))
        ]
        if data.draw(st.booleans()):
            blocks.append({"kind": "Fire", "squeeze": {"low": 4, "high": 9}, "repeat": [1, 2]})
        slots.append({"blocks": blocks})
    space_data = tiny(
        slots=slots,
        image_size=[*data.draw(st.lists(st.integers(8, 63), max_size=2, unique=True)), 64],
        total_stride={"least": data.draw(st.sampled_from([1, 2, 4])), "most": data.draw(st.integers(8, 64))},
        least_map=data.draw(st.integers(1, 4)),
        width_multiple=[0.3, 1.0],
    )
    try:
        space = Space.model_validate(space_data)
    except ValueError:
        return  # it says so itself; test_space looks at that
    for candidate in drawn(space, 3, optuna.samplers.RandomSampler(seed=0)):
        check(space, candidate)


TUNED: dict[str, dict[str, Any]] = {
    "tune1": {
        "width_multiple": 1.0,
        **{"slot1.block": "Conv", "slot1.Conv.repeat": 2, "slot1.Conv.channels": 32},
        **{"slot1.Conv.stride": 1, "slot1.Conv.activation": "ReLU"},
        **{"slot2.block": "InvertedResidualv2", "slot2.InvertedResidualv2.repeat": 4},
        **{"slot2.InvertedResidualv2.channels": 32, "slot2.InvertedResidualv2.expansion": 3},
        "slot2.InvertedResidualv2.stride": 2,
        **{"slot3.block": "InvertedResidualv3", "slot3.InvertedResidualv3.repeat": 1},
        **{"slot3.InvertedResidualv3.channels": 24, "slot3.InvertedResidualv3.expansion": 4.6},
        **{"slot3.InvertedResidualv3.kernel": 3, "slot3.InvertedResidualv3.stride": 2},
        **{"slot3.InvertedResidualv3.se": True, "slot3.InvertedResidualv3.hs": False},
        **{"slot4.block": "DWConv", "slot4.DWConv.repeat": 4, "slot4.DWConv.channels": 48},
        **{"slot4.DWConv.kernel": 3, "slot4.DWConv.stride": 1, "slot4.DWConv.activation": "Hardswish"},
        **{f"slot{i}.block": "Pass" for i in (5, 6, 7)},
        "head.channels": 896,
    },
    "tune2": {
        "width_multiple": 1.0,
        **{"slot1.block": "Conv", "slot1.Conv.repeat": 1, "slot1.Conv.channels": 64},
        **{"slot1.Conv.stride": 1, "slot1.Conv.activation": "ReLU"},
        **{"slot2.block": "Conv", "slot2.Conv.repeat": 1, "slot2.Conv.channels": 48},
        **{"slot2.Conv.kernel": 1, "slot2.Conv.stride": 2, "slot2.Conv.activation": "ReLU"},
        **{"slot3.block": "InvertedResidualv2", "slot3.InvertedResidualv2.repeat": 1},
        **{"slot3.InvertedResidualv2.channels": 32, "slot3.InvertedResidualv2.expansion": 3},
        "slot3.InvertedResidualv2.stride": 2,
        **{f"slot{i}.block": "Pass" for i in (4, 5, 7)},
        **{"slot6.block": "InvertedResidualv2", "slot6.InvertedResidualv2.repeat": 5},
        **{"slot6.InvertedResidualv2.channels": 96, "slot6.InvertedResidualv2.expansion": 8},
        "slot6.InvertedResidualv2.stride": 2,
        "head.channels": 384,
    },
    "tune3": {
        "width_multiple": 0.75,
        **{"slot1.block": "Conv", "slot1.Conv.repeat": 2, "slot1.Conv.channels": 64},
        **{"slot1.Conv.stride": 1, "slot1.Conv.activation": "ReLU"},
        **{"slot2.block": "Conv", "slot2.Conv.repeat": 4, "slot2.Conv.channels": 80},
        **{"slot2.Conv.kernel": 1, "slot2.Conv.stride": 2, "slot2.Conv.activation": "ReLU"},
        **{"slot3.block": "DWConv", "slot3.DWConv.repeat": 4, "slot3.DWConv.channels": 96},
        **{"slot3.DWConv.kernel": 5, "slot3.DWConv.stride": 2, "slot3.DWConv.activation": "Hardswish"},
        **{f"slot{i}.block": "Pass" for i in (4, 5, 6, 7)},
        "head.channels": 256,
    },
    "automl_9": {
        "width_multiple": 1.0,
        **{"slot1.block": "DWConv", "slot1.DWConv.repeat": 3, "slot1.DWConv.channels": 16},
        **{"slot1.DWConv.stride": 1, "slot1.DWConv.activation": "Hardswish"},
        **{"slot2.block": "InvertedResidualv3", "slot2.InvertedResidualv3.repeat": 3},
        **{"slot2.InvertedResidualv3.channels": 24, "slot2.InvertedResidualv3.expansion": 3.1},
        **{"slot2.InvertedResidualv3.kernel": 5, "slot2.InvertedResidualv3.stride": 2},
        **{"slot2.InvertedResidualv3.se": False, "slot2.InvertedResidualv3.hs": True},
        **{"slot3.block": "Conv", "slot3.Conv.repeat": 1, "slot3.Conv.channels": 64},
        **{"slot3.Conv.kernel": 3, "slot3.Conv.stride": 1, "slot3.Conv.activation": "Hardswish"},
        **{"slot4.block": "InvertedResidualv3", "slot4.InvertedResidualv3.repeat": 5},
        **{"slot4.InvertedResidualv3.channels": 48, "slot4.InvertedResidualv3.expansion": 5.2},
        **{"slot4.InvertedResidualv3.kernel": 3, "slot4.InvertedResidualv3.stride": 2},
        **{"slot4.InvertedResidualv3.se": False, "slot4.InvertedResidualv3.hs": False},
        **{"slot5.block": "Conv", "slot5.Conv.repeat": 3, "slot5.Conv.channels": 48},
        **{"slot5.Conv.kernel": 3, "slot5.Conv.stride": 1, "slot5.Conv.activation": "ReLU"},
        **{"slot6.block": "InvertedResidualv3", "slot6.InvertedResidualv3.repeat": 3},
        **{"slot6.InvertedResidualv3.channels": 48, "slot6.InvertedResidualv3.expansion": 4.0},
        **{"slot6.InvertedResidualv3.kernel": 3, "slot6.InvertedResidualv3.stride": 1},
        **{"slot6.InvertedResidualv3.se": True, "slot6.InvertedResidualv3.hs": False},
        **{"slot7.block": "InvertedResidualv2", "slot7.InvertedResidualv2.repeat": 1},
        **{"slot7.InvertedResidualv2.channels": 96, "slot7.InvertedResidualv2.expansion": 8},
        "slot7.InvertedResidualv2.stride": 1,
        "head.channels": 640,
    },
}


@pytest.mark.parametrize("name", TUNED)
def test_the_published_results_are_in_the_space(name: str, model_yaml: Path) -> None:
    """To the layer, and to the published number of parameters."""
    common = {"image_size": 224, "depth_multiple": 0.5}
    training = {"train.epochs": 100, "train.batch_size": 32, "train.n_select": 2}
    candidate = suggest(load("competition"), FixedTrial({**common, **TUNED[name], **training}))
    theirs = yamlio.read(model_yaml / f"{name}.yaml")
    theirs["backbone"][-1] = [1, "FixedConv", [6, 1, 1, None, 1, None]]  # some left null out: ReLU on logits
    assert candidate.digest == Candidate(theirs, 224).digest
    with (model_yaml / "params.csv").open() as file:
        published = {row["file"]: int(row["parameters"]) for row in csv.DictReader(file)}
    module = arch.build(candidate.model)
    assert sum(p.numel() for p in module.parameters()) == published[f"{name}.yaml"]
    train = {"epochs": 100, "batch_size": 32, "augment": {"kind": "competition", "n_select": 2}}
    assert candidate.train == train
