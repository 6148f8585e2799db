"""A real calibration in small, and what the table says afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from latency_rows import known_table
from tinynet import tiny_net

from compress.data.digits import DigitsData
from compress.errors import CompressError
from compress.lab import Lab
from compress.latency_table.probes import probe
from compress.latency_table.table import LatencyTable
from compress.net import Quant
from compress.recipe import Recipe
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.torch_runtime import TorchRuntime
from compress.stages.base import Plan
from compress.stages.decompose import Decompose
from compress.store import Store


def test_probes_are_the_same_every_time_and_unlike_each_other() -> None:
    state = torch.get_rng_state()
    first, again = probe(5), probe(5)
    assert str(first.module) == str(again.module)
    assert first.preprocess.size == again.preprocess.size
    assert torch.equal(state, torch.get_rng_state())
    nets = [probe(i) for i in range(7)]
    assert len({net.preprocess.size for net in nets}) == 7
    assert len({str(net.module) for net in nets}) == 7
    for net in nets[:3]:
        assert net.module(net.example()).shape == (1, len(net.labels))


def test_calibrated_once_for_machine_and_runtime(tmp_path: Path) -> None:
    store, lines = Store(tmp_path), []
    table = LatencyTable(TorchRuntime(), store)
    assert not table.calibrated
    with pytest.raises(CompressError, match="python -m compress calibrate"):
        table.predict(tiny_net())
    table.calibrate(2, lines.append)
    assert table.calibrated
    assert "exported probe 2 of 2" in lines[1]
    again = LatencyTable(TorchRuntime(), store)
    assert again.calibrated
    seen = probe(0)
    assert again.predict(seen).ms == table.predict(seen).ms
    for _ in range(2):  # another test's work may have fallen on one of the two probes: measured again
        rows = store.value("latency", table._key)
        if again.predict(seen).ms == pytest.approx(rows[0]["ms"], rel=0.2):
            break
        table.calibrate(2, lines.append)
        again = LatencyTable(TorchRuntime(), store)
    rows = store.value("latency", table._key)
    assert again.predict(seen).ms == pytest.approx(rows[0]["ms"], rel=0.2)
    names = [name for _, name in table._units(seen)]
    modules = [[names[i] for i in places] for places, _ in rows[0]["parts"]]
    assert all(len(set(inside)) == 1 for inside in modules)  # each part is one module's kernels
    assert {inside[0] for inside in modules} >= {name for name in names if name.endswith(".conv")}
    assert sum(ms for _, ms in rows[0]["parts"]) <= rows[0]["ms"] * 1.01
    assert not LatencyTable(TorchRuntime(threads=2), store).calibrated
    assert not LatencyTable(OnnxRuntime(), store).calibrated


def test_layers_carry_the_nets_own_names(tmp_path: Path) -> None:
    table, net = known_table(tmp_path), tiny_net()
    found = table.layers(net)
    names = dict(net.module.named_modules())
    assert {name for name, _, _ in found} <= set(names) | {""}
    assert ("stem.0", "dense") in [(name, kind) for name, kind, _ in found]
    whole = table.predict(net)
    assert sum(ms for _, _, ms in found) == pytest.approx(whole.ms, abs=0.02)


def test_a_module_alone_costs_no_more_than_its_kernels(tmp_path: Path) -> None:
    table = known_table(tmp_path)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1)
    x = torch.zeros(1, 64, 28, 28)
    expected = 1e-3 + 1e-8 * 64 * 64 * 9 * 784 + 2e-7 * 64 * 784 + 5e-8 * (64 * 64 * 9 + 64)
    assert table.module_ms(layer, x) == pytest.approx(expected, rel=0.2)


def test_int8_is_refused(tmp_path: Path) -> None:
    net = tiny_net()
    net.quant = Quant(torch.zeros(1, 16, 16, 3, dtype=torch.uint8).numpy())
    with pytest.raises(CompressError, match="int8"):
        known_table(tmp_path).predict(net)


def test_a_plan_is_of_the_table_that_it_was_made_by(tmp_path: Path) -> None:
    """A stage may leave layers out by predicted times; calibrated since, it is planned anew."""
    net, stage, plans, stages = tiny_net(), Decompose(), [], []
    recipe = Recipe(name="x", data=DigitsData(image_size=16), runtime=OnnxRuntime())
    lab = Lab.start(recipe, model=net, store=Store(tmp_path), log=lambda line: None)
    for launch in (None, 1e-3, 2e-3, 1e-3):
        if launch is not None:
            known_table(tmp_path, launch)
        lab.measure_in_runtime_of(net)
        plans.append(lab.plan_key(stage, "parent"))
        stages.append(lab.stage_key(stage, "parent", Plan(what={"ranks": 4}, measured=True)))
    assert len(set(plans)) == 3
    assert plans[1] == plans[3]
    assert len(set(stages)) == 1  # of one plan comes one net
