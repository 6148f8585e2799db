"""The model against nets whose times are a known sum over their kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from latency_rows import NET_MS, net_ms, probe_units, unit_ms
from scipy.stats import spearmanr
from torch import nn
from torchvision.models import get_model

from compress.latency_table.model import LatencyModel
from compress.latency_table.units import Unit, net_costs, rough, units_of


@pytest.fixture(scope="module")
def model() -> LatencyModel:
    units = probe_units()
    return LatencyModel(units, [net_ms(net) for net in units])


def named(name: str, size: int) -> list[Unit]:
    return units_of(get_model(name, weights=None), torch.zeros(1, 3, size, size))


@pytest.mark.parametrize(
    ("name", "size"), [("mobilenet_v2", 96), ("mobilenet_v3_small", 160), ("mnasnet0_5", 128)]
)
def test_nets_it_never_saw(model: LatencyModel, name: str, size: int) -> None:
    net = named(name, size)
    found = model.predict(net)
    assert found.ms == pytest.approx(net_ms(net), rel=0.1)
    assert 0 < found.error < 0.3 * found.ms


def test_every_kernel_has_its_share(model: LatencyModel) -> None:
    net = named("mobilenet_v3_small", 128)
    each = model.unit_ms(net)
    assert all(ms > 0 for ms in each)
    assert 0.8 < sum(each) / model.predict(net).ms < 1  # the rest is the net's own
    truth = [unit_ms(unit) for unit in net]
    # From whole nets' times: what the one stem in each costs is the hardest to tell from the rest.
    stem, *others = np.log(np.divide(each, truth))
    assert abs(stem) < np.log(4)
    assert np.abs(others).max() < np.log(2)
    assert spearmanr(each, truth).statistic > 0.95


def test_modules_tell_where_a_net_spends_its_time() -> None:
    """Pointwise convolutions of few channels take three times as long here, which whole nets hide."""

    def odd_ms(unit: Unit) -> float:
        return unit_ms(unit) * (3 if unit.kind == "pointwise" and unit.inputs <= 24 else 1)

    rng = np.random.default_rng(0)
    units = probe_units()
    ms = [NET_MS + sum(map(odd_ms, net)) for net in units]
    noise = [np.exp(0.1 * rng.standard_normal(len(net))) for net in units]
    parts = [
        [([i], float(factor * odd_ms(unit))) for i, (unit, factor) in enumerate(zip(net, each, strict=True))]
        for net, each in zip(units, noise, strict=True)
    ]
    net = named("mobilenet_v3_small", 96)
    truth = [odd_ms(unit) for unit in net]
    with_parts, without = LatencyModel(units, ms, parts), LatencyModel(units, ms)
    assert with_parts.predict(net).ms == pytest.approx(NET_MS + sum(truth), rel=0.08)

    def off(model: LatencyModel) -> float:
        return float(np.abs(np.log(np.divide(model.unit_ms(net), truth))).mean())

    assert off(with_parts) < 0.5 * off(without)
    assert with_parts.predict(net).error < without.predict(net).error


def test_what_a_launch_costs_is_learnt(model: LatencyModel) -> None:
    """The same kernels, in a runtime that takes 100 us to start one."""
    units = probe_units()
    slow = LatencyModel(units, [net_ms(net, launch=0.1) for net in units])
    net = named("mobilenet_v2", 96)
    assert slow.predict(net).ms == pytest.approx(net_ms(net, launch=0.1), rel=0.1)
    assert slow.predict(net).ms > 5 * model.predict(net).ms


@pytest.mark.parametrize("times", [0.01, 50.0])
def test_a_slower_machine_scales_everything(model: LatencyModel, times: float) -> None:
    units = probe_units()
    scaled = LatencyModel(units, [times * net_ms(net) for net in units])
    net = named("mobilenet_v2", 128)
    assert scaled.predict(net).ms == pytest.approx(times * model.predict(net).ms, rel=1e-6)


def test_a_kernel_far_from_all_that_was_seen_makes_it_less_sure(model: LatencyModel) -> None:
    near = probe_units()[4]
    strange = replace(near[1], inputs=4096, outputs=4096, kernel=11, macs=near[1].macs)
    assert model.predict((*near, strange)).error > model.predict(near).error


def test_kernels_of_kinds_it_never_saw_cost_something(model: LatencyModel) -> None:
    odd = nn.Sequential(nn.Conv2d(8, 8, 3, groups=2), nn.Mish(), nn.MaxPool2d(2), nn.LayerNorm(3))
    net = units_of(odd, torch.zeros(1, 8, 8, 8))
    assert [unit.kind for unit in net] == ["grouped", "pool", "norm"]
    assert net[0].act == "mish"
    found = model.predict(net)
    assert np.isfinite(found.ms)
    assert found.ms > 0


def test_two_nets_are_enough_to_go_on() -> None:
    units = probe_units()[:2]
    few = LatencyModel(units, [net_ms(net) for net in units])
    net = named("mobilenet_v2", 96)
    assert few.predict(net).ms == pytest.approx(net_ms(net), rel=1.0)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 40))
def test_channels_cost_as_the_next_multiple_of_16(inputs: int, outputs: int, side: int) -> None:
    def costs(a: int, b: int) -> dict[str, float]:
        hw = side * side
        made = Unit("pointwise", None, a, b, side, 1, 1, a * hw, b * hw, a * b, a * b * hw)
        return made.costs()

    full = costs(-(-inputs // 16) * 16, -(-outputs // 16) * 16)["macs:pointwise"]
    ours = costs(inputs, outputs)["macs:pointwise"]
    if inputs < 4:
        assert ours == pytest.approx(inputs * (-(-outputs // 16) * 16) * side * side, abs=1)
    else:
        assert ours == pytest.approx(full, rel=1e-6)


def test_units_of_a_small_net() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish(), nn.Conv2d(16, 16, 5, padding=2, groups=16),
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    units = units_of(net, torch.zeros(1, 3, 8, 8))
    assert [unit.kind for unit in units] == ["dense", "depthwise", "pool", "vector", "vector"]
    assert units[0].act == "hardswish"
    assert (units[0].side, units[0].stride, units[0].kernel) == (4, 2, 3)
    assert units[1].costs()["macs:depthwise"] == 16 * 25 * 16
    assert net_costs(units)["far"] == 0
    assert all(rough(name) > 0 for unit in units for name in unit.costs())
