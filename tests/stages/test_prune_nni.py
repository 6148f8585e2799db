"""Pruning by NNI's masks: the real package decides, and what it masked is what goes."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from coherent import check_coherent
from tinynet import digits
from torch import Tensor, nn
from torchvision.models import get_model

from compress.errors import InputError, MissingExtraError
from compress.net import Net, Preprocess
from compress.ops.channels import find_groups
from compress.ops.flops import count_macs
from compress.ops.nni_masks import PRUNERS, masked_channels
from compress.stages.base import Context
from compress.stages.prune import Prune

nni = pytest.importorskip("nni", reason="the extra nni is not installed")

QUICK = {"engine": "nni", "epochs": 0, "steps": 1, "samples": 64}


def batches(net: Net) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    data = digits(0, 64)

    def make() -> Iterator[tuple[Tensor, Tensor]]:
        for part in (slice(0, 32), slice(32, 64)):
            images = torch.from_numpy(data.images[part]).permute(0, 3, 1, 2)
            yield net.preprocess.normalise(images), torch.from_numpy(data.targets[part])

    return make


def metric(kind: str, net: Net, layer: str) -> list[float]:
    """What each pruner's paper says of one layer's filters, written out slowly."""
    weight: Any = net.module.get_submodule(layer).weight
    if kind == "group_taylor":
        total = torch.zeros_like(weight)
        probe = copy.deepcopy(net.module)
        for images, targets in batches(net)():
            probe.zero_grad()
            F.cross_entropy(probe(images), targets).backward()
            grad: Any = probe.get_submodule(layer).weight.grad
            total += (weight * grad).detach() ** 2
        return [float(t.sum()) for t in total]
    filters = weight.detach().flatten(1)
    if kind == "fpgm":
        return [sum(float((f - other).norm()) for other in filters) for f in filters]
    return [float(f.abs().sum()) if kind == "l1" else float(f.square().sum()) ** 0.5 for f in filters]


@pytest.mark.parametrize("kind", PRUNERS)
def test_masked_channels_are_those_of_the_papers(small_net: Net, kind: str) -> None:
    groups, _ = find_groups(small_net.module, small_net.example(), round_to=16)
    widths = {g.name: g.allowed[0] for g in groups}
    before = copy.deepcopy(small_net.module.state_dict())
    found = masked_channels(small_net.module, groups, widths, kind, batches(small_net))
    assert found.keys() == widths.keys()
    for group in groups:
        score = [sum(m) for m in zip(*(metric(kind, small_net, name) for name in group.tied), strict=True)]
        lowest = sorted(range(group.width), key=score.__getitem__)[: group.width - widths[group.name]]
        assert found[group.name] == sorted(lowest), group.name
    assert all(torch.equal(v, before[k]) for k, v in small_net.module.state_dict().items())
    assert not any(hasattr(m, "_nni_wrapper") for m in small_net.module.modules())


@pytest.mark.parametrize("kind", PRUNERS)
def test_what_goes_is_what_nni_masks(small_net: Net, ctx: Context, kind: str) -> None:
    """NNI called by hand with its own configuration; every mask it makes is compared with what is left."""
    import nni.compression.pruning as pruning

    stage = Prune(target=0.4, importance=kind, **QUICK)
    plan = stage.plan(small_net, ctx)
    slim = stage.apply(small_net.copy(), plan, ctx)
    groups, _ = find_groups(small_net.module, small_net.example(), round_to=16)
    probe = copy.deepcopy(small_net.module)
    config = [
        {
            "op_names": list(g.tied),
            "sparse_ratio": 1 - plan.what["widths"][-1][g.name] / g.width + 1e-6,
            "dependency_group_id": g.name,
        }
        for g in groups
        if g.name in plan.what["before"]
    ]
    if kind == "group_taylor":
        data = list(stage._rating(small_net, ctx)())

        def train(model: Any, optimizer: Any, step: Any, _s: Any, steps: int | None, _e: Any) -> None:
            for batch in data[:steps]:
                step(batch, model).backward()
                optimizer.step()
                optimizer.zero_grad()

        evaluator = nni.compression.utils.TorchEvaluator(
            train,
            nni.trace(torch.optim.SGD)(probe.parameters(), lr=0.0),
            lambda batch, model: F.cross_entropy(model(batch[0]), batch[1]),
        )
        _, masks = pruning.TaylorPruner(probe, config, evaluator, training_steps=len(data)).compress()
    else:
        _, masks = getattr(pruning, PRUNERS[kind])(probe, config).compress()
    assert {name for c in config for name in c["op_names"]} == set(masks)
    for name, mask in masks.items():
        kept = mask["weight"].flatten(1).amax(1).bool()
        assert 0 < int(kept.sum()) < len(kept)
        old: Any = small_net.module.get_submodule(name).weight[kept]
        new: Any = slim.module.get_submodule(name).weight
        if new.shape[1] == old.shape[1]:
            assert torch.equal(new, old), name
        else:  # its inputs were narrowed as well: what is left of every filter is in the old one
            assert len(new) == len(old)
            assert all(torch.isin(a, b).all() for a, b in zip(new, old, strict=True)), name


@pytest.mark.parametrize(("name", "kind"), [("mobilenet_v3_small", "fpgm"), ("mobilenet_v2", "l1")])
def test_real_nets_meet_the_target(name: str, kind: str, ctx: Context) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net(get_model(name, num_classes=10).eval(), Preprocess(64), ctx.baseline.labels)
    stage = Prune(target=0.5, importance=kind, **QUICK)
    plan = stage.plan(net, ctx)
    slim = stage.apply(net.copy(), plan, ctx)
    left = count_macs(slim.module, slim.example())
    assert left == plan.what["macs"][-1]
    assert left / count_macs(net.module, net.example()) == pytest.approx(0.5, abs=0.01)
    check_coherent(slim.module)
    assert slim.module(torch.zeros(3, 3, 64, 64)).shape == (3, 10)


class Same(nn.Conv2d):
    """A subclass NNI has never heard of."""


def test_grouped_convolutions_and_subclasses(ctx: Context) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        Same(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Conv2d(24, 10, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    net = Net(module, ctx.baseline.preprocess, ctx.baseline.labels)
    stage = Prune(target=0.5, importance="l1", round_to=4, **QUICK)
    slim: Any = stage.apply(net.copy(), stage.plan(net, ctx), ctx).module
    assert type(slim[0]) is Same
    assert slim[0].out_channels < 16
    assert slim[2].out_channels < 24
    assert slim[2].groups == 4
    check_coherent(slim)
    assert slim(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_it_repeats_and_fine_tunes(learned_net: Net, learned_ctx: Context) -> None:
    stage = Prune(target=0.4, engine="nni", steps=2, epochs=6, samples=64)
    plan = stage.plan(learned_net, learned_ctx)
    assert plan == stage.plan(learned_net, learned_ctx)
    slim = stage.apply(learned_net.copy(), plan, learned_ctx)
    assert count_macs(slim.module, slim.example()) == plan.what["macs"][-1]
    f1 = learned_ctx.bench.f1
    assert f1(slim, learned_ctx.tune) > f1(learned_net, learned_ctx.tune) - 0.25


def test_a_target_out_of_reach(small_net: Net, ctx: Context) -> None:
    with pytest.raises(InputError, match="out of reach"):
        Prune(target=0.99, **QUICK).plan(small_net, ctx)


def test_nothing_is_printed(small_net: Net, ctx: Context, capfd: pytest.CaptureFixture[str]) -> None:
    stage = Prune(target=0.4, **QUICK)
    stage.apply(small_net.copy(), stage.plan(small_net, ctx), ctx)
    out, err = capfd.readouterr()
    assert out == err == ""


def test_without_nni_the_extra_is_named(
    small_net: Net, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n == "nni" or n.startswith("nni.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nni", None)
    with pytest.raises(MissingExtraError, match=r"nni is not installed: pip install 'beyondnas\[nni\]'"):
        Prune(**QUICK).plan(small_net, ctx)


def test_nni_needs_no_pkg_resources() -> None:
    """setuptools 81 and later have none; only NNI's own command line asks for it."""
    code = (
        "import sys; sys.modules['pkg_resources'] = None\n"
        "from compress.ops.nni_masks import require; require()\n"
        "import nni.compression.utils"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
