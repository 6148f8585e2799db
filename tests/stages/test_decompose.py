from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from latency_rows import known_table
from tinynet import TinyNet, TorchBench
from torch import Tensor, nn

from compress.errors import NoEffectError
from compress.net import Net
from compress.ops.surgery import layer_calls
from compress.stages.base import Context, Plan, Ratio
from compress.stages.decompose import Decompose, factorise


class Ledger(TorchBench):
    """A clock without noise: time is MACs, plus ``per_layer`` for each conv and linear, as in the tiny nets
    of which a runtime's overhead is the larger part. Counts what it is asked."""

    runtime = "ledger"

    def __init__(self, per_layer: float = 0.0, whole_per_layer: float | None = None) -> None:
        super().__init__()
        self.per_layer = per_layer
        self.whole_per_layer = per_layer if whole_per_layer is None else whole_per_layer
        self.examples: list[tuple[int, ...]] = []
        self.wholes = 0

    def ratio(self, candidate: Net, reference: Net) -> Ratio:
        self.wholes += 1
        return self._compare(candidate.module, reference.module, reference.example(), self.whole_per_layer)

    def ratio_modules(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> Ratio:
        self.examples.append(tuple(example.shape))
        assert not candidate.training
        assert not reference.training
        return self._compare(candidate, reference, example, self.per_layer)

    def _compare(self, a: nn.Module, b: nn.Module, x: Tensor, per_layer: float) -> Ratio:
        times = []
        for module in (a, b):
            calls = layer_calls(module, x)
            times.append(sum(c.macs for c in calls) + per_layer * sum(c.calls for c in calls))
        ratio = times[0] / times[1]
        return Ratio(ratio, ratio * 0.99, ratio * 1.01)


def lowrank(net: Net, rank: int = 6) -> Net:
    """``net`` with every dense weight of rank ``rank`` and a little noise: as trained nets are, in kind."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        for layer in net.module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and getattr(layer, "groups", 1) == 1:
                out, cin = layer.weight.shape[:2]
                core = torch.randn(min(rank, out), min(rank, cin), *layer.weight.shape[2:])
                left, right = torch.randn(out, core.shape[0]), torch.randn(core.shape[1], cin)
                weight = torch.einsum("oa,ab...,bi->oi...", left, core, right)
                layer.weight.copy_(weight / weight.std() * 0.1 + 1e-3 * torch.randn(layer.weight.shape))
    return net


@pytest.fixture
def low_net(small_net: Net) -> Net:
    return lowrank(small_net)


def with_bench(ctx: Context, bench: TorchBench) -> Context:
    return replace(ctx, bench=bench)


def state(net: Net) -> dict[str, Tensor]:
    return copy.deepcopy(net.module.state_dict())


def test_plan_names_layers_with_ranks_and_leaves_the_net_bit_identical(low_net: Net, ctx: Context) -> None:
    low_net.module.train()
    before, names = state(low_net), [n for n, _ in low_net.module.named_modules()]
    plan = Decompose().plan(low_net, with_bench(ctx, bench := Ledger()))
    assert plan.skip is None
    assert plan.measured
    assert plan.what["dense.0"] == [8, 8]  # rank 6, rounded up
    assert plan.what["block1.body.0.0"] == [8]
    assert all(len(ranks) == 2 for name, ranks in plan.what.items() if name in ("stem.0", "dense.0"))
    assert bench.wholes == 1
    assert low_net.module.training
    assert names == [n for n, _ in low_net.module.named_modules()]
    assert all(torch.equal(v, before[k]) for k, v in low_net.module.state_dict().items())
    assert any("dense.0: rank 8 x 8" in note for note in plan.notes)
    assert any("grouped or depthwise" in note for note in plan.notes)


def test_equal_geometries_are_timed_once_on_the_true_shape(low_net: Net, ctx: Context) -> None:
    bench = Ledger()
    plan = Decompose(method="svd").plan(low_net, with_bench(ctx, bench))
    expands = ["block1.body.0.0", "block2.body.0.0"]  # both 32 to 64 at 8 x 8
    assert set(expands) <= set(plan.what)
    assert bench.examples.count((1, 32, 8, 8)) == 1
    assert any(", ".join(expands) in note for note in plan.notes)


@pytest.mark.parametrize(("method", "ranks"), [("tucker", {2}), ("svd", {1}), ("auto", {1, 2})])
def test_method_chooses_the_kind_of_layer(method: str, ranks: set[int], low_net: Net, ctx: Context) -> None:
    plan = Decompose(method=method).plan(low_net, with_bench(ctx, Ledger()))
    assert {len(r) for r in plan.what.values()} == ranks


class Peeking(nn.Module):
    """Asks a layer for its dtype and another for its width, as nets from elsewhere do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        net: TinyNet = self.inner  # type: ignore[assignment]
        x = x.to(net.dense[0].weight.dtype)
        out: Tensor = net(x) / net.head[3].in_features
        return out


def test_layers_that_the_net_looks_at_are_left_for_they_cannot_be_replaced(
    low_net: Net, ctx: Context
) -> None:
    names = Decompose().plan(low_net, with_bench(ctx, Ledger())).what
    net = replace(low_net, module=Peeking(low_net.module))
    stage = Decompose(epochs=0)
    plan = stage.plan(net, with_bench(ctx, Ledger()))
    assert plan.what.keys() == {f"inner.{n}" for n in names if n not in ("dense.0", "head.3")}
    assert any("read by the net, not only called: 2" in note for note in plan.notes)
    out = stage.apply(net.copy(), plan, ctx)
    assert out.module(out.example()).shape == (1, 10)


def test_layers_that_are_not_faster_are_left(low_net: Net, ctx: Context) -> None:
    # A layer costs as much as 95 k MACs: dense.0 saves 209 k for two more, an expansion 82 k for one more.
    plan = Decompose(min_speedup=1).plan(low_net, with_bench(ctx, Ledger(per_layer=95e3)))
    assert list(plan.what) == ["dense.0"]
    assert any("not for sure faster in ledger" in note for note in plan.notes)


def test_skip_with_counts_when_no_layer_pays(low_net: Net, ctx: Context) -> None:
    plan = Decompose().plan(low_net, with_bench(ctx, Ledger(per_layer=1e7)))
    assert plan.what == {}
    assert plan.measured
    assert str(plan.skip).startswith(
        "6 layers tried, none for sure 1.1 times as fast (under 0.91x the time) in ledger: the best took "
    )


def test_skip_when_the_whole_net_is_not_faster(low_net: Net, ctx: Context) -> None:
    plan = Decompose().plan(low_net, with_bench(ctx, Ledger(0.0, whole_per_layer=1e7)))
    assert plan.what == {}
    assert "faster alone, but the net with them takes 1." in str(plan.skip)


def test_skip_without_timing_when_ranks_save_nothing(small_net: Net, ctx: Context) -> None:
    # Random weights have a flat spectrum: 99.9 % of it needs nearly every rank.
    plan = Decompose(energy=0.999).plan(small_net, with_bench(ctx, bench := Ledger()))
    assert "no fewer MACs at energy 0.999: 6" in str(plan.skip)
    assert not plan.measured
    assert bench.examples == []


def test_max_layers_bounds_the_timings_and_says_so(low_net: Net, ctx: Context) -> None:
    bench = Ledger()
    plan = Decompose(max_layers=1).plan(low_net, with_bench(ctx, bench))
    assert list(plan.what) == ["dense.0"]
    assert len(bench.examples) == 1
    assert any("not timed (max_layers is 1)" in note for note in plan.notes)


def test_min_speedup_asks_for_more(low_net: Net, ctx: Context) -> None:
    all_ratios = Decompose(min_speedup=1).plan(low_net, with_bench(ctx, Ledger())).what
    few = Decompose(min_speedup=3).plan(low_net, with_bench(ctx, Ledger())).what
    assert set(few) < set(all_ratios)
    assert "dense.0" in few


def test_a_large_conv_pays_on_a_real_clock(ctx: Context) -> None:
    net = lowrank(Net(Wide(), ctx.baseline.preprocess, ctx.baseline.labels), 8)
    plan = Decompose(round_to=8).plan(net, with_bench(ctx, TorchBench()))
    assert plan.what == {"body.0": [8, 8]}  # 10 times fewer MACs, two more calls
    assert plan.measured


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(96, 192, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(192, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.repeat(1, 32, 4, 4))


def test_factorise_keeps_the_function_of_a_low_rank_net(low_net: Net, ctx: Context) -> None:
    plan = Decompose(energy=0.9999).plan(low_net, with_bench(ctx, Ledger()))
    net = low_net.copy()
    for name, ranks in plan.what.items():
        parent, _, key = name.rpartition(".")
        setattr(net.module.get_submodule(parent), key, factorise(net.module.get_submodule(name), ranks))
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        want, got = low_net.module(x), net.module(x)
    assert (want - got).abs().max() < 0.05 * (want - want.mean()).abs().max()


def test_apply_factorises_trains_and_stays_a_plain_net(learned_net: Net, learned_ctx: Context) -> None:
    ctx = with_bench(learned_ctx, Ledger())
    stage = Decompose(energy=0.6, epochs=2)
    plan = stage.plan(learned_net, ctx)
    assert plan.what
    before = ctx.bench.f1(learned_net, ctx.tune)
    owned = learned_net.copy()
    net = stage.apply(owned, plan, ctx)
    for name in plan.what:
        factors = net.module.get_submodule(name)
        assert isinstance(factors, nn.Sequential)
        assert {type(m) for m in factors} <= {nn.Conv2d, nn.Linear}
    assert not net.module.training
    calls, parent = layer_calls(net.module, net.example()), layer_calls(learned_net.module, net.example())
    assert sum(c.macs for c in calls) < sum(c.macs for c in parent)
    assert ctx.bench.f1(net, ctx.tune) > before - 0.05
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(other.module(x), net.module(x))


def test_apply_is_deterministic_and_free_of_epochs_when_told(low_net: Net, ctx: Context) -> None:
    stage = Decompose(epochs=0)
    plan = stage.plan(low_net, with_bench(ctx, Ledger()))
    nets = [stage.apply(low_net.copy(), plan, ctx) for _ in range(2)]
    first, second = (net.module.state_dict() for net in nets)
    assert list(first) == list(second)
    assert all(torch.equal(first[k], second[k]) for k in first)
    norm = "dense.1.running_mean"
    assert not torch.equal(first[norm], low_net.module.state_dict()[norm])  # statistics taken anew


def test_an_empty_plan_is_refused(low_net: Net, ctx: Context) -> None:
    with pytest.raises(NoEffectError, match="no layer"):
        Decompose().apply(low_net.copy(), Plan(), ctx)


def test_decomposed_net_exports_to_onnx_and_agrees(low_net: Net, ctx: Context, tmp_path) -> None:
    import onnxruntime

    stage = Decompose(epochs=0)
    net = stage.apply(low_net.copy(), stage.plan(low_net, with_bench(ctx, Ledger())), ctx)
    path = tmp_path / "net.onnx"
    torch.onnx.export(net.module, (net.example(),), str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = torch.randn(1, 3, 16, 16)
    got = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got), net.module(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_torchvision_nets_never_gain_macs(name: str, ctx: Context) -> None:
    import torchvision

    module = getattr(torchvision.models, name)(num_classes=10).eval()
    net = Net(module, replace(ctx.baseline.preprocess, size=64), ctx.baseline.labels)
    plan = Decompose(energy=0.5, round_to=16).plan(net, with_bench(ctx, Ledger()))
    calls = {c.name: c for c in layer_calls(module, net.example())}
    assert len(plan.what) > 5
    for layer, ranks in plan.what.items():
        assert all(r % 16 == 0 or r in module.get_submodule(layer).weight.shape for r in ranks)
        factors = factorise(module.get_submodule(layer), ranks)
        inside = layer_calls(factors, torch.zeros(calls[layer].shape))
        assert sum(c.macs for c in inside) < calls[layer].macs


def test_a_conv_of_another_class_is_left(ctx: Context) -> None:
    class Padded(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))

    net = Net(TinyNet(), ctx.baseline.preprocess, ctx.baseline.labels)
    net.module.dense[0] = Padded(16, 32, 3, 2)
    lowrank(net)
    plan = Decompose().plan(net, with_bench(ctx, Ledger()))
    assert "dense.0" not in plan.what
    assert any("of a class of their own" in note for note in plan.notes)


def test_a_latency_table_spares_the_timing_of_layers_that_would_gain_too_little(
    low_net: Net, ctx: Context, tmp_path: Path
) -> None:
    class Untimed(TorchBench):
        def ratio_modules(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> Ratio:
            raise AssertionError("timed")

    slow_start = Untimed(table=known_table(tmp_path, launch=1.0))  # a kernel more costs all
    plan = Decompose(epochs=0).plan(low_net, with_bench(ctx, slow_start))
    assert plan.skip is not None
    assert "not 1.1 times as fast (under 0.91x the time) by the latency table of torch" in plan.skip
    assert plan.measured


def test_only_layers_foreseen_to_gain_are_timed(low_net: Net, ctx: Context) -> None:
    class Foreseen(Ledger):
        """One that knows beforehand, at ``each`` a layer."""

        def __init__(self, each: float) -> None:
            super().__init__()
            self.each = each

        def predict_ratio(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> float:
            return self._compare(candidate, reference, example, self.each).median

    without, free, dear = Ledger(), Foreseen(0.0), Foreseen(95e3)
    stage = Decompose(min_speedup=1)
    plans = [stage.plan(low_net, with_bench(ctx, bench)) for bench in (without, free, dear)]
    assert len(without.examples) > 1
    assert free.examples == without.examples
    assert plans[1].what == plans[0].what
    assert dear.examples == [(1, 16, 16, 16)]  # of dense.0, as in the test of layers that are not faster
    assert list(plans[2].what) == ["dense.0"]
