"""Pruning: what the plan promises, what apply does, against slow references and real nets."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from coherent import check_coherent
from latency_rows import known_table
from pydantic import ValidationError
from tinynet import TorchBench, digits, tiny_net
from torch import nn
from torchvision.models import MobileNetV3, get_model
from torchvision.models.mobilenetv3 import InvertedResidualConfig

from compress.data.images import ImageSet
from compress.errors import CompressError, InputError, MissingExtraError, NoEffectError
from compress.models.arch import build
from compress.net import Net, Preprocess
from compress.ops.flops import count_macs
from compress.ops.importance import scores
from compress.stages.base import Context, Plan
from compress.stages.prune import Prune

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"epochs": 0, "steps": 1, "samples": 64}


def zoo_net(name: str, size: int = 64) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = get_model(name, num_classes=10).eval()
    return Net(module, Preprocess(size), tuple(str(i) for i in range(10)))


def flat(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def removed_fraction(net: Net, before: Net) -> float:
    return 1 - count_macs(net.module, net.example()) / count_macs(before.module, before.example())


# ---------------------------------------------------------------- what can be said


def test_a_recipe_node_and_an_object_are_one() -> None:
    stage = Prune(target=0.3, importance="l1", ignore=("a.b",))
    assert Prune.model_validate_json(stage.model_dump_json()) == stage
    assert Prune().kind == "prune"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"target": 1.0}, "less than 1"),
        ({"target": 0.0}, "greater than 0"),
        ({"round_to": 3}, "greater than or equal to 4"),
        ({"importance": "fpgm"}, "importance fpgm is not one of engine torch_pruning: group_taylor, l1"),
        ({"importance": "lamp", "engine": "nni"}, "importance lamp is not one of engine nni"),
        ({"scope": "global", "engine": "nni"}, "scope must be local"),
        ({"ratio": 0.5}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Prune(**wrong)


# ---------------------------------------------------------------- the plan


@pytest.mark.parametrize("importance", ["group_taylor", "l1", "l2", "lamp"])
def test_planning_leaves_the_net_as_it_is_and_repeats(small_net: Net, ctx: Context, importance: str) -> None:
    stage = Prune(importance=importance, **QUICK)
    before = pickle.dumps(small_net.module)
    plan = stage.plan(small_net, ctx)
    assert pickle.dumps(small_net.module) == before
    assert all(p.grad is None for p in small_net.module.parameters())
    assert stage.plan(small_net, ctx) == plan
    assert json.loads(json.dumps(plan.what)) == plan.what
    assert not plan.measured
    assert plan.notes[0].startswith("MACs ")
    assert any("head.3" in note and "net's outputs" in note for note in plan.notes)
    assert any("stem.0" in note and "no narrower width" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("name", "target", "scope"),
    [
        ("mobilenet_v3_small", 0.5, "global"),
        ("mobilenet_v3_small", 0.3, "local"),
        ("mobilenet_v2", 0.4, "global"),
        ("mobilenet_v2", 0.6, "local"),
    ],
)
def test_real_nets_meet_the_target_as_planned(name: str, target: float, scope: str, ctx: Context) -> None:
    net = zoo_net(name)
    stage = Prune(target=target, scope=scope, importance="l1", **QUICK)
    plan = stage.plan(net, ctx)
    slim = stage.apply(net.copy(), plan, ctx)
    assert removed_fraction(slim, net) == pytest.approx(target, abs=0.01)
    assert count_macs(slim.module, slim.example()) == plan.what["macs"][-1]
    check_coherent(slim.module)
    for layer, width in plan.what["widths"][-1].items():
        assert len(slim.module.get_submodule(layer).weight) == width  # type: ignore[arg-type]
    old = dict(net.module.named_modules())
    for layer, new in slim.module.named_modules():
        if isinstance(new, nn.Conv2d):
            was = old[layer].out_channels
            assert new.out_channels == was or new.out_channels % (16 if was >= 16 else 8) == 0, layer
            assert new.out_channels >= 0.2 * was
    for batch, size in ((1, 64), (3, 64), (2, 96)):
        assert slim.module(torch.zeros(batch, 3, size, size)).shape == (batch, 10)


@pytest.mark.parametrize(
    ("file", "round_to"),
    [("mobilenetv3.yaml", 16), ("efficientnet_b0.yaml", 8), ("squeezenet.yaml", 16), ("example.yaml", 4)],
)
def test_model_files_are_pruned_and_stay_coherent(
    file: str, round_to: int, model_yaml: Path, ctx: Context
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(model_yaml / file, num_classes=10).eval()
    net = Net(module, Preprocess(64), tuple(str(i) for i in range(10)))
    stage = Prune(target=0.4, scope="local", importance="l2", round_to=round_to, **QUICK)
    slim = stage.apply(net.copy(), stage.plan(net, ctx), ctx)
    assert removed_fraction(slim, net) == pytest.approx(0.4, abs=0.05 if file == "example.yaml" else 0.01)
    check_coherent(slim.module)
    assert slim.module(torch.zeros(3, 3, 64, 64)).shape == (3, 10)


def test_a_target_out_of_reach_says_what_is_in_reach(small_net: Net, ctx: Context) -> None:
    with pytest.raises(InputError, match=r"target 0.99 is out of reach: .* 0\.\d\d of the MACs are gone"):
        Prune(target=0.99, **QUICK).plan(small_net, ctx)


def test_it_is_known_before_any_training(small_net: Net, ctx: Context) -> None:
    with pytest.raises(InputError) as planned:
        Prune(target=0.99, **QUICK).plan(small_net, ctx)
    assert Prune(target=0.99, **QUICK).refusal(small_net) == str(planned.value)
    assert Prune(target=0.3, **QUICK).refusal(small_net) is None


def test_a_small_target_still_removes_something(small_net: Net, ctx: Context) -> None:
    stage = Prune(target=0.01, **QUICK)
    slim = stage.apply(small_net.copy(), stage.plan(small_net, ctx), ctx)
    assert 0 < removed_fraction(slim, small_net) < 0.2


def test_a_net_of_the_narrowest_widths_is_skipped(ctx: Context) -> None:
    net = tiny_net(width=4)
    plan = Prune(ignore=("stem",), **QUICK).plan(net, ctx)
    assert plan.skip == "no layer can become narrower"
    assert len(plan.notes) >= 2


def test_a_plan_without_channels_has_no_effect(small_net: Net, ctx: Context) -> None:
    with pytest.raises(NoEffectError):
        Prune(**QUICK).apply(small_net.copy(), Plan(), ctx)


def test_max_layer_is_the_most_a_layer_loses(small_net: Net, ctx: Context) -> None:
    plan = Prune(target=0.1, max_layer=0.25, **QUICK).plan(small_net, ctx)
    for layer, width in plan.what["widths"][-1].items():
        assert width >= 0.75 * plan.what["before"][layer]
    with pytest.raises(InputError, match=r"max_layer 0\.25"):
        Prune(target=0.6, max_layer=0.25, **QUICK).plan(small_net, ctx)


def test_ignored_layers_stay(small_net: Net, ctx: Context) -> None:
    stage = Prune(target=0.1, ignore=("block1", "dense.0"), **QUICK)
    slim = stage.apply(small_net.copy(), stage.plan(small_net, ctx), ctx)
    assert slim.module.block1.body[0][0].out_channels == 64  # type: ignore[union-attr, index]
    assert slim.module.block2.body[0][0].out_channels < 64  # type: ignore[union-attr, index]


def test_ignoring_what_is_not_there_is_refused_with_the_nearest_name(small_net: Net, ctx: Context) -> None:
    with pytest.raises(InputError) as caught:
        Prune(ignore=("blok1", "head"), **QUICK).plan(small_net, ctx)
    assert len(caught.value.problems) == 1
    assert "'blok1'" in caught.value.problems[0]
    assert "block1" in caught.value.problems[0]


# ---------------------------------------------------------------- which channels


def two_convs() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 10, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()


@pytest.mark.parametrize(("importance", "power"), [("l1", 1), ("l2", 2)])
def test_magnitude_takes_the_channels_a_slow_reference_takes(
    importance: str, power: int, ctx: Context
) -> None:
    net = Net(two_convs(), ctx.baseline.preprocess, ctx.baseline.labels)
    with torch.no_grad():
        net.module[1].weight.uniform_(0.5, 1.5)  # type: ignore[index]
    first, norm, second = (net.module[i].weight.detach() for i in (0, 1, 3))  # type: ignore[index]
    score = []
    for channel in range(8):
        written = sum(abs(float(w)) ** power for w in first[channel].flatten())
        scaled = abs(float(norm[channel])) ** power
        read = sum(abs(float(w)) ** power for w in second[:, channel].flatten())
        score.append((written + scaled + read) / 3)
    kept = sorted(np.argsort(score)[4:])
    stage = Prune(target=0.5, importance=importance, round_to=4, **QUICK)
    slim = stage.apply(net.copy(), stage.plan(net, ctx), ctx)
    assert torch.equal(slim.module[0].weight, first[kept])  # type: ignore[index]
    assert torch.equal(slim.module[1].weight, norm[kept])  # type: ignore[index]
    assert torch.equal(slim.module[3].weight, second[:, kept])  # type: ignore[index]


def test_taylor_takes_the_channels_a_slow_reference_takes(ctx: Context) -> None:
    net = Net(two_convs(), ctx.baseline.preprocess, ctx.baseline.labels)
    drawn = np.random.default_rng(ctx.seed).permutation(len(ctx.train))[:64]
    squares = [torch.zeros_like(net.module[i].weight) for i in (0, 3)]  # type: ignore[index, arg-type]
    probe: Any = copy.deepcopy(net.module)
    for half in (drawn[:32], drawn[32:]):
        x = torch.from_numpy(ctx.train.images[half]).permute(0, 3, 1, 2).float() / 127.5 - 1
        probe.zero_grad()
        F.cross_entropy(probe(x), torch.from_numpy(ctx.train.targets[half])).backward()
        for total, i in zip(squares, (0, 3), strict=True):
            total += probe[i].weight.grad ** 2
    a, b = ((probe[i].weight.detach() * (s / 2).sqrt()).abs() for i, s in zip((0, 3), squares, strict=True))
    score = [(float(a[c].sum()) + float(b[:, c].sum())) / 2 for c in range(8)]
    kept = sorted(np.argsort(score)[4:])
    stage = Prune(target=0.5, round_to=4, **QUICK)
    slim = stage.apply(net.copy(), stage.plan(net, ctx), ctx)
    assert torch.equal(slim.module[0].weight, net.module[0].weight[kept])  # type: ignore[index]


def test_the_channels_rated_low_matter_least(learned_net: Net, learned_ctx: Context) -> None:
    """On a net that has learned, taking the lowest-rated channels costs less loss than the highest."""
    from compress.ops.channels import find_groups, remove_channels
    from compress.ops.widths import Group, lowest

    stage = Prune(**QUICK)
    groups, _ = find_groups(learned_net.module, learned_net.example(), round_to=16)
    rated = scores(
        learned_net.module,
        learned_net.example(),
        groups,
        "group_taylor",
        stage._rating(learned_net, learned_ctx),
    )

    def loss(group: Group, sign: int) -> float:
        module = copy.deepcopy(learned_net.module)
        gone = {group.name: lowest(group, group.width // 2, sign * rated[group.name])}
        remove_channels(module, learned_net.example(), gone)
        x = torch.from_numpy(learned_ctx.train.images).permute(0, 3, 1, 2)
        with torch.no_grad():
            logits = module(learned_net.preprocess.normalise(x))
        return float(F.cross_entropy(logits, torch.from_numpy(learned_ctx.train.targets)))

    low, high = ([loss(group, sign) for group in groups] for sign in (1, -1))
    assert sum(low) < sum(high)


# ---------------------------------------------------------------- apply


def test_steps_narrow_and_train_in_turns(learned_net: Net, learned_ctx: Context) -> None:
    lines: list[str] = []
    learned_ctx.log = lines.append
    stage = Prune(target=0.5, steps=3, epochs=4, samples=64)
    plan = stage.plan(learned_net, learned_ctx)
    widths = plan.what["widths"]
    assert len(widths) == 3
    for earlier, later in pairwise(widths):
        assert earlier.keys() <= later.keys()
        assert all(later[name] <= width for name, width in earlier.items())
    macs = plan.what["macs"]
    assert macs == sorted(macs, reverse=True)
    slim = stage.apply(learned_net.copy(), plan, learned_ctx)
    steps = [line for line in lines if line.startswith("prune: step")]
    assert [line.split(":")[1].strip() for line in steps] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]
    assert count_macs(slim.module, slim.example()) == macs[-1]
    f1 = learned_ctx.bench.f1
    assert f1(slim, learned_ctx.tune) > f1(learned_net, learned_ctx.tune) - 0.15
    assert not slim.module.training


class Grouped(nn.Module):
    """Two residual blocks around grouped convolutions, two channels a group."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = self.conv(3, 32, 3), nn.Linear(32, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(self.conv(32, 64), self.conv(64, 64, 3, groups), self.conv(64, 32))
            for groups in (16, 32)
        )

    @staticmethod
    def conv(cin: int, cout: int, k: int = 1, groups: int = 1) -> nn.Module:
        layer = nn.Conv2d(cin, cout, k, padding=k // 2, groups=groups)
        return nn.Sequential(layer, nn.BatchNorm2d(cout), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        out: torch.Tensor = self.head(x.mean((2, 3)))
        return out


def test_grouped_convolutions_are_as_narrow_after_several_steps_as_planned(ctx: Context) -> None:
    torch.manual_seed(1)
    net = Net(Grouped().eval(), ctx.baseline.preprocess, ctx.baseline.labels)
    stage = Prune(target=0.4, scope="local", max_layer=0.9, epochs=0, steps=3, samples=64)
    plan = stage.plan(net, ctx)
    assert len(plan.what["widths"]) > 1
    slim = stage.apply(net.copy(), plan, ctx)
    assert count_macs(slim.module, slim.example()) == plan.what["macs"][-1]
    check_coherent(slim.module)


def test_a_planned_width_that_cannot_be_had_is_an_error(small_net: Net, ctx: Context) -> None:
    stage = Prune(target=0.3, **QUICK)
    plan = stage.plan(small_net, ctx)
    plan.what["widths"][-1]["head.3"] = 4  # the net's outputs
    with pytest.raises(CompressError, match=r"no channel of head\.3 can be removed"):
        stage.apply(small_net.copy(), plan, ctx)


def test_apply_repeats_to_the_bit(learned_net: Net, learned_ctx: Context, tmp_path: Path) -> None:
    stage = Prune(target=0.4, steps=2, epochs=2, samples=64)
    plan = stage.plan(learned_net, learned_ctx)
    first = flat(stage.apply(learned_net.copy(), plan, learned_ctx).module)
    learned_ctx.work = tmp_path / "again"
    learned_ctx.work.mkdir()
    again = flat(stage.apply(learned_net.copy(), plan, learned_ctx).module)
    assert same(first, again)


def test_pruning_a_pruned_net(small_net: Net, ctx: Context) -> None:
    net = small_net
    for _ in range(2):
        stage = Prune(target=0.25, **QUICK)
        slim = stage.apply(net.copy(), stage.plan(net, ctx), ctx)
        assert removed_fraction(slim, net) == pytest.approx(0.25, abs=0.1)
        net = slim
    check_coherent(net.module)


def test_the_net_keeps_its_word_after_pickling_and_copying(small_net: Net, ctx: Context) -> None:
    stage = Prune(target=0.4, **QUICK)
    slim = stage.apply(small_net.copy(), stage.plan(small_net, ctx), ctx)
    x = torch.rand(2, 3, 16, 16)
    module = pickle.loads(pickle.dumps(slim.copy().module))
    assert torch.equal(module(x), slim.module(x))
    assert {type(m) for m in module.modules()} == {type(m) for m in small_net.module.modules()}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_images_of_another_size_than_the_net_takes(small_net: Net, ctx: Context) -> None:
    data = digits(0, 64)
    big = np.ascontiguousarray(data.images.repeat(2, axis=1).repeat(2, axis=2))
    ctx.train = ctx.calib = ImageSet(big, data.targets, data.labels)
    stage = Prune(target=0.4, **QUICK)
    slim = stage.apply(small_net.copy(), stage.plan(small_net, ctx), ctx)
    assert removed_fraction(slim, small_net) == pytest.approx(0.4, abs=0.1)


def test_a_pruned_net_exports_to_onnx_and_runs_equal(ctx: Context, tmp_path: Path) -> None:
    """torchvision's own V3 blocks (depthwise, squeeze-and-excitation, residual), three of them."""
    blocks = [
        InvertedResidualConfig(16, 3, 64, 32, False, "RE", 2, 1, 1),
        InvertedResidualConfig(32, 5, 96, 32, True, "HS", 1, 1, 1),
        InvertedResidualConfig(32, 5, 96, 48, True, "HS", 2, 1, 1),
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net(MobileNetV3(blocks, 64, 10).eval(), Preprocess(32), ctx.baseline.labels)
    stage = Prune(target=0.5, **QUICK)
    plan = stage.plan(net, ctx)
    assert {"features.2.block.0.0", "features.2.block.2.fc1"} <= plan.what["before"].keys()
    slim = stage.apply(net.copy(), plan, ctx).module
    x = torch.rand(2, 3, 32, 32)
    path = tmp_path / "net.onnx"
    torch.onnx.export(slim, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(out, slim(x).numpy(), atol=1e-5, rtol=1e-3)


def test_a_recipe_with_engine_nni_asks_for_nni_without_importing_it() -> None:
    code = """
import sys
from compress.recipe import Recipe
recipe = Recipe(name="x", stages=({"kind": "prune"}, {"kind": "prune", "engine": "nni"}))
recipe.check()
print("nni" in sys.modules)
sys.modules["nni"] = None
print(*recipe.check())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    said = f"stages[1]: {MissingExtraError('nni', 'nni')}"
    assert done.stdout.splitlines() == ["False", said], done.stderr


def test_a_latency_table_says_what_the_widths_are_worth(learned_ctx: Context, tmp_path: Path) -> None:
    net = zoo_net("mobilenet_v2")
    stage = Prune(target=0.5, importance="l1", **QUICK)
    assert not any("latency table" in note for note in stage.plan(net, learned_ctx).notes)
    table = known_table(tmp_path)
    bench = TorchBench(table=table)
    plan = stage.plan(net, replace(learned_ctx, bench=bench))
    (note,) = [note for note in plan.notes if "latency table of torch" in note]
    before, after = (float(ms) for ms in re.findall(r"([\d.]+) ms", note))
    assert before == pytest.approx(table.predict(net).ms, abs=1e-3)
    pruned = stage.apply(net.copy(), plan, replace(learned_ctx, bench=bench))
    assert after == pytest.approx(table.predict(pruned).ms, abs=1e-3)
    assert after < 0.8 * before
