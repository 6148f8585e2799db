from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from tinynet import TorchBench
from torch import nn

from compress.data.images import ImageSet
from compress.errors import InputError, NoEffectError
from compress.net import Net, Quant
from compress.ops.fakequant import fake_quantized
from compress.ops.surgery import is_under, layer_calls
from compress.stages.base import Context, Plan, Ratio
from compress.stages.quantize import Quantize
from compress.stages.training import train_net
from compress.train import fit


class Int8Bench(TorchBench):
    """Int8 by arithmetic: F1 of the fake-quantised net, and a clock without noise.

    A layer takes its MACs; as int8 it takes them divided by ``speed`` (``spatial`` if its kernel is not
    1 x 1), plus ``overhead`` for quantising its input.
    """

    runtime = "ledger"
    int8 = True

    def __init__(self, speed: float = 4.0, overhead: float = 0.0, spatial: float | None = None) -> None:
        super().__init__()
        self.speed, self.overhead, self.spatial = speed, overhead, spatial or speed
        self.seen: list[Quant] = []

    def ratio(self, candidate: Net, reference: Net) -> Ratio:
        assert reference.quant is None
        assert candidate.quant is not None
        self.seen.append(candidate.quant)
        ratio = self._time(candidate) / self._time(reference)
        return Ratio(ratio, ratio * 0.99, ratio * 1.01)

    def f1(self, net: Net, data: ImageSet) -> float:
        if net.quant is None:
            return super().f1(net, data)
        module = copy.deepcopy(net.module)
        images = net.preprocess.normalise(torch.from_numpy(net.quant.images).permute(0, 3, 1, 2))
        with fake_quantized(module, images, net.quant.method, net.quant.exclude):
            return super().f1(replace(net, module=module, quant=None), data)

    def _time(self, net: Net) -> float:
        time = 0.0
        for call in layer_calls(net.module, net.example()):
            int8 = net.quant is not None and not is_under(call.name, net.quant.exclude)
            wide = getattr(net.module.get_submodule(call.name), "kernel_size", (1, 1)) != (1, 1)
            speed = self.spatial if wide else self.speed
            time += call.macs / speed + self.overhead if int8 else call.macs
        return time


def with_bench(ctx: Context, bench: TorchBench) -> Context:
    return replace(ctx, bench=bench)


def spoil_head(net: Net) -> Net:
    """The same function, but the head's input has one channel 10,000 times the others: no int8 range
    fits both, so a quantised head hears that channel alone."""
    with torch.no_grad():
        norm, head = net.module.block2.body[3], net.module.head[3]
        norm.weight[0] *= 1e4
        norm.bias[0] *= 1e4
        head.weight[:, 0] /= 1e4
    return net


def test_whole_net_when_it_pays_and_the_net_is_left_as_it_is(learned_net: Net, learned_ctx: Context) -> None:
    before = copy.deepcopy(learned_net.module.state_dict())
    bench = Int8Bench()
    plan = Quantize(samples=20).plan(learned_net, with_bench(learned_ctx, bench))
    assert plan.skip is None
    assert plan.what == {"method": "minmax", "exclude": []}
    assert plan.measured
    assert "the whole net: 0.25x [0.25, 0.25] the time of fp32" in plan.notes
    assert len(bench.seen) == 1  # nothing else is timed once the whole net pays
    assert learned_net.quant is None
    after = learned_net.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_no_int8_in_the_runtime(small_net: Net, ctx: Context) -> None:
    plan = Quantize(fallback=False).plan(small_net, ctx)
    assert plan.skip == "torch runs no int8"
    assert not plan.measured


def test_an_int8_net_is_not_quantised_again(small_net: Net, ctx: Context) -> None:
    net = replace(small_net, quant=Quant(ctx.calib.images[:4]))
    assert "already" in str(Quantize().plan(net, with_bench(ctx, Int8Bench())).skip)


@pytest.mark.parametrize("mode", ["auto", "static"])
def test_slower_is_skipped_with_the_figures(mode: str, small_net: Net, ctx: Context) -> None:
    plan = Quantize(mode=mode).plan(small_net, with_bench(ctx, Int8Bench(speed=0.5)))
    best = "2.00x [1.98, 2.02]" if mode == "static" else "1.49x [1.47, 1.50]"  # of the parts tried
    assert str(plan.skip).startswith(f"int8 is {best} the time of fp32 in ledger")
    assert plan.notes[0] == "the whole net: 2.00x [1.98, 2.02] the time of fp32"
    assert ("pointwise convs alone" in str(plan.skip)) == (mode == "auto")
    assert plan.what == {}
    assert plan.measured


def test_a_tie_keeps_fp32(small_net: Net, ctx: Context) -> None:
    plan = Quantize(mode="static").plan(small_net, with_bench(ctx, Int8Bench(speed=1.005)))
    assert "int8 is 1.00x [0.99, 1.00]" in str(plan.skip)


def test_fallback_false_quantises_anyway_and_says_so(learned_net: Net, learned_ctx: Context) -> None:
    plan = Quantize(fallback=False).plan(learned_net, with_bench(learned_ctx, Int8Bench(speed=0.5)))
    assert plan.skip is None
    assert plan.what["exclude"] == []
    assert "does not pay by itself" in plan.notes[0]


POINTWISE = {"block1.body.0.0", "block1.body.2", "block2.body.0.0", "block2.body.2"}
SPATIAL = {"stem.0", "dense.0", "block1.body.1.0", "block2.body.1.0"}


@pytest.mark.parametrize(
    ("bench", "words", "layers"),
    [
        # Of 877 k MACs int8 saves 658 k: less than nine overheads, more than eight (the head has 320 MACs).
        (Int8Bench(overhead=77e3), "all but heads and squeezes", POINTWISE | SPATIAL),
        (Int8Bench(spatial=0.5), "pointwise convs alone", POINTWISE),
    ],
)
def test_when_the_whole_net_is_slower_the_fastest_part_is_taken(
    bench: Int8Bench, words: str, layers: set[str], learned_net: Net, learned_ctx: Context
) -> None:
    plan = Quantize().plan(learned_net, with_bench(learned_ctx, bench))
    assert plan.skip is None
    calls = layer_calls(learned_net.module, learned_net.example())
    assert {c.name for c in calls if not is_under(c.name, plan.what["exclude"])} == layers
    assert words in plan.notes[0]


def test_a_layer_int8_ruins_is_left_in_float(learned_net: Net, learned_ctx: Context) -> None:
    net, ctx = spoil_head(learned_net), with_bench(learned_ctx, Int8Bench())
    plan = Quantize().plan(net, ctx)
    assert plan.what["exclude"] == ["head.3"]
    static = Quantize(mode="static").plan(net, ctx)
    assert "loses 0." in str(static.skip)
    assert "(minmax), more than max_drop 0.02" in str(static.skip)
    told = Quantize(mode="static", exclude=("head",)).plan(net, ctx)
    assert told.what == {"method": "minmax", "exclude": ["head"]}


def test_other_methods_are_tried_for_the_f1(small_net: Net, ctx: Context) -> None:
    class Prefers(Int8Bench):
        """F1 0.9 in float, 0.8 with minmax, 0.7 with percentile, 0.89 with entropy."""

        def f1(self, net: Net, data: ImageSet) -> float:
            table = {"minmax": 0.8, "percentile": 0.7, "entropy": 0.89}
            return 0.9 if net.quant is None else table[net.quant.method]

    bench = with_bench(ctx, Prefers())
    plan = Quantize().plan(small_net, bench)
    assert plan.what["method"] == "entropy"
    assert any("-0.100 with minmax, -0.200 with percentile, -0.010 with entropy" in n for n in plan.notes)
    plan = Quantize(max_drop=0.005).plan(small_net, bench)
    assert "int8 for the whole net loses 0.010 of 0.900 F1 on tune at best" in str(plan.skip)
    assert Quantize(max_drop=0.005, fallback=False).plan(small_net, bench).what["method"] == "entropy"
    assert Quantize(method="entropy", mode="static").plan(small_net, bench).what["method"] == "entropy"


def test_calibration_images_are_drawn_by_the_seed(small_net: Net, ctx: Context) -> None:
    def images(seed: int, samples: int) -> np.ndarray:
        bench = Int8Bench()
        Quantize(samples=samples, fallback=False).plan(small_net, replace(ctx, seed=seed, bench=bench))
        return bench.seen[0].images

    assert images(0, 16).shape == (16, 16, 16, 3)
    assert images(0, 16).dtype == np.uint8
    assert np.array_equal(images(0, 16), images(0, 16))
    assert not np.array_equal(images(0, 16), images(1, 16))


def test_more_images_than_are_for_calibration_come_from_train(small_net: Net, ctx: Context) -> None:
    def images(samples: int, seed: int = 0) -> tuple[np.ndarray, Plan]:
        bench = Int8Bench()
        with_seed = replace(ctx, seed=seed, bench=bench)
        plan = Quantize(samples=samples, fallback=False).plan(small_net, with_seed)
        return bench.seen[0].images, plan

    def unique(some: np.ndarray) -> set[bytes]:
        return {image.tobytes() for image in some}

    most, plan = images(100)
    assert most.shape == (100, 16, 16, 3)
    assert not any("calibrated on" in note for note in plan.notes)
    assert unique(most[:64]) == unique(ctx.calib.images)
    assert unique(most[64:]) <= unique(ctx.train.images) - unique(ctx.calib.images)
    assert len(unique(most)) == 100
    assert np.array_equal(most, images(100)[0])
    assert unique(most) != unique(images(100, seed=1)[0])
    every, plan = images(10_000)
    assert unique(every) == unique(ctx.train.images)
    assert len(every) == len(ctx.train)
    assert "calibrated on 200 images: all of train" in plan.notes


@pytest.mark.parametrize(
    ("exclude", "words"),
    [
        (("stem", "tail"), "'tail', which is no module"),
        (("stem", "dense", "block1", "block2", "head"), "leaves no"),
    ],
)
def test_bad_exclude_is_the_users_mistake(
    exclude: tuple[str, ...], words: str, small_net: Net, ctx: Context
) -> None:
    with pytest.raises(InputError, match=words):
        Quantize(exclude=exclude).plan(small_net, with_bench(ctx, Int8Bench()))


def test_apply_folds_and_attaches_the_quantisation(learned_net: Net, learned_ctx: Context) -> None:
    ctx = with_bench(learned_ctx, Int8Bench())
    stage = Quantize(samples=24)
    plan = stage.plan(learned_net, ctx)
    net = stage.apply(learned_net.copy(), plan, ctx)
    assert net.quant is not None
    assert net.quant.images.shape == (24, 16, 16, 3)
    assert (net.quant.method, net.quant.exclude) == ("minmax", ())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.module.modules())
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net.module(x), learned_net.module(x), rtol=1e-4, atol=1e-4)
        for other in (net.copy(), pickle.loads(pickle.dumps(net))):
            assert torch.equal(other.module(x), net.module(x))
    again = stage.apply(learned_net.copy(), plan, ctx)
    assert np.array_equal(again.quant.images, net.quant.images)
    assert ctx.bench.f1(net, ctx.tune) >= ctx.bench.f1(learned_net, ctx.tune) - stage.max_drop


def test_an_empty_plan_is_refused(small_net: Net, ctx: Context) -> None:
    with pytest.raises(NoEffectError, match="no way"):
        Quantize().apply(small_net, Plan(), ctx)


def test_training_after_it_is_quantization_aware(small_net: Net, ctx: Context) -> None:
    """A net half trained, made int8 and trained on as int8 gains F1 as int8, and stays a plain float net."""
    ctx = with_bench(ctx, Int8Bench())
    half = ctx.train_spec.model_copy(update={"epochs": 4})
    fit(small_net.module, ctx.train, half, preprocess=small_net.preprocess, log=ctx.log)
    net = Quantize().apply(small_net, Plan(what={"method": "minmax", "exclude": ["head.3"]}), ctx)
    keys, before = list(net.module.state_dict()), ctx.bench.f1(net, ctx.tune)
    train_net(net, ctx, epochs=6, lr=0.01)
    assert ctx.bench.f1(net, ctx.tune) > before + 0.2
    assert list(net.module.state_dict()) == keys
    assert not any(m._forward_pre_hooks for m in net.module.modules())
    pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_parts_of_torchvision_nets(name: str, ctx: Context) -> None:
    import torchvision

    torch.manual_seed(0)
    module = getattr(torchvision.models, name)(num_classes=10).eval()
    net = Net(module, replace(ctx.baseline.preprocess, size=64), ctx.baseline.labels)
    bench = Int8Bench(speed=0.5)
    images = replace(ctx.calib.take(np.arange(2)), images=np.zeros((2, 64, 64, 3), np.uint8))
    small = replace(ctx, bench=bench, calib=images)
    Quantize(samples=2).plan(net, small)
    everything = {c.name for c in layer_calls(module, net.example())}
    whole, maps, pointwise = ({n for n in everything if not is_under(n, q.exclude)} for q in bench.seen)
    assert whole == everything
    assert pointwise < maps < whole
    squeezes = {n for n in everything if ".fc1" in n or ".fc2" in n}
    assert bool(squeezes) == (name == "mobilenet_v3_small")
    heads = {n for n in everything if n.startswith("classifier")}
    assert whole - maps == squeezes | heads
    assert all(module.get_submodule(n).groups == 1 for n in pointwise)


def test_recipe_round_trip() -> None:
    stage = Quantize(exclude=("head",), max_drop=0.01)
    assert Quantize.model_validate(stage.canonical()) == stage
    assert stage.canonical()["exclude"] == ["head"]
