"""Zero-cost proxies against slow references, and what must not change them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spaces import load
from torch import Tensor, nn
from torch.nn import functional as F

from compress.models import arch
from compress.models.blocks import Residual
from search.proxies import naswot, synflow, zen
from search.sample import suggest

PROXIES = {"synflow": synflow, "naswot": naswot, "zen": zen}
TAIL: list[list[Any]] = [[1, "GlobalAvgPool", []], [1, "FixedConv", [3, 1, 1, None, 1, None]]]


def net(*rows: list[Any], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = {"input_channel": 3, "depth_multiple": 1.0, "width_multiple": 1.0, "backbone": [*rows, *TAIL]}
    return arch.build(model)


def images(count: int = 4, size: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


STEM = [1, "Conv", [16, 3, 2, None, 1, "ReLU6"]]
MIXED = (
    STEM,
    [2, "InvertedResidualv3", [3, 3, 16, 1, 1, 1]],
    [1, "MBConv", [2, 24, 2, 5]],
    [1, "Fire", [8, 16, 16]],
    [2, "InvertedResidualv2", [16, 4, 1]],
    [1, "Dropout", [0.5]],
)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_is_a_finite_number_and_leaves_no_trace(name: str) -> None:
    module, batch = net(*MIXED), images()
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    first = PROXIES[name](module, batch)
    assert math.isfinite(first)
    assert PROXIES[name](module, batch) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not any(m._forward_pre_hooks for m in module.modules())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("name", PROXIES)
def test_it_works_where_gradients_are_off(name: str) -> None:
    module, batch = net(*MIXED), images()
    with torch.no_grad():
        off = PROXIES[name](module, batch)
    assert off == PROXIES[name](module, batch)


@pytest.mark.parametrize("name", PROXIES)
def test_more_channels_score_higher(name: str) -> None:
    def score(channels: int) -> float:
        row = [2, "Conv", [channels, 3, 1]]
        return float(np.mean([PROXIES[name](net(STEM, row, seed=s), images(8)) for s in range(3)]))

    assert score(8) < score(32) < score(128)


# synflow


def test_synflow_of_a_chain_is_the_product_of_its_weights() -> None:
    weights = [0.5, -3.0, 2.0, -0.25]
    chain = nn.Sequential(*(nn.Conv2d(1, 1, 1, bias=False) for _ in weights))
    for layer, weight in zip(chain, weights, strict=True):
        nn.init.constant_(layer.weight, weight)
    product = math.prod(abs(w) for w in weights)
    # the flow over 1 x 1 pixels is the product, and so is what each weight has of it
    assert synflow(chain, torch.ones(2, 1, 1, 1)) == pytest.approx(math.log(len(weights) * product))


def test_synflow_is_the_sum_over_all_paths() -> None:
    """Each path from an input to an output, one by one."""
    torch.manual_seed(0)
    first, second = nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)
    a, b = (layer.weight.detach().double().abs() for layer in (first, second))
    paths = [float(a[j, i] * b[k, j]) for i, j, k in itertools.product(range(3), range(4), range(2))]
    found = synflow(nn.Sequential(nn.Flatten(), first, nn.ReLU6(), second), torch.ones(1, 3, 1, 1))
    assert found == pytest.approx(math.log(2 * sum(paths)))


def test_synflow_does_not_depend_on_data_signs_or_activations() -> None:
    module = net(STEM, [2, "Conv", [16, 3, 1]])
    found = synflow(module, images())
    assert synflow(module, 100 * images(7, seed=1)) == found
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.neg_()
    assert synflow(module, images()) == found
    other = net(STEM, [2, "Conv", [16, 3, 1, None, 1, "Hardswish"]])
    assert synflow(other, images()) == pytest.approx(found)


def test_synflow_is_of_the_untrained_batch_norm() -> None:
    module = net(STEM)
    found = synflow(module, images())
    module.train()(images())  # changes the running statistics
    assert synflow(module, images()) == found


def test_no_path_no_flow() -> None:
    module = net(STEM)
    nn.init.zeros_(module[0].conv.weight)  # type: ignore[union-attr, arg-type]
    assert synflow(module, images()) == -math.inf


# naswot


class Rectified(nn.Module):
    """Two hidden layers whose inputs a reference can ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(48, 7), nn.Linear(7, 5), nn.Linear(5, 2)
        self.act = nn.ReLU(inplace=True)

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        one = self.one(x.flatten(1))
        return one, self.two(one.relu())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.act(self.two(self.act(self.one(x.flatten(1))))))
        return out


def test_naswot_counts_agreeing_units() -> None:
    """Against loops over pairs of images and units."""
    torch.manual_seed(0)
    module, batch = Rectified(), images(5, size=4)
    codes = torch.cat(module.hidden(batch), 1) > 0
    kernel = np.array(
        [[sum(a == b for a, b in zip(one, two, strict=True)) for two in codes] for one in codes]
    )
    assert naswot(module, batch) == pytest.approx(math.log(np.linalg.det(kernel.astype(float))))


def test_naswot_is_lowest_where_images_look_the_same() -> None:
    module, batch = net(*MIXED), images(6)
    found = naswot(module, batch)
    assert math.isfinite(found)
    assert naswot(module, batch[:1].repeat(6, 1, 1, 1)) == -math.inf
    near = batch[:1] + 0.001 * batch  # still told apart, but by fewer units
    assert naswot(module, near) < found


def test_naswot_takes_images_in_any_order() -> None:
    module, batch = net(*MIXED), images(6)
    assert naswot(module, batch.flip(0)) == pytest.approx(naswot(module, batch), rel=1e-3)


def test_naswot_needs_something_that_rectifies() -> None:
    assert naswot(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()), images()) == -math.inf


# zen


def test_zen_against_the_definition() -> None:
    """Two plain layers written out; the same draws in the same order."""
    module, repeats, alpha = net(STEM, [1, "Conv", [24, 3, 1]]), 3, 0.05
    rng = torch.Generator().manual_seed(5)
    scores = []
    for _ in range(repeats):
        shapes = [(16, 3, 3, 3), (24, 16, 3, 3), (3, 24, 1, 1)]
        first, second, _ = (torch.randn(s, generator=rng) for s in shapes)
        x = torch.randn((2, 3, 16, 16), generator=rng)
        moved = x + alpha * torch.randn(x.shape, generator=rng)
        score = 0.0

        def layer(v: Tensor, w: Tensor, stride: int, act: Callable[[Tensor], Tensor]) -> tuple[Tensor, float]:
            z = F.conv2d(v, w, stride=stride, padding=1)
            var = z.double().var((0, 2, 3), unbiased=False)
            return act(F.batch_norm(z, None, None, training=True)), float(var.mean().sqrt().log())

        one, s1 = layer(x, first, 2, F.relu6)
        two, s2 = layer(one, second, 1, F.relu)
        other, _ = layer(layer(moved, first, 2, F.relu6)[0], second, 1, F.relu)
        score = math.log(float((two - other).flatten(1).norm(dim=1).mean())) + s1 + s2
        scores.append(score)
    found = zen(module, torch.zeros(2, 3, 16, 16), repeats=repeats, alpha=alpha, seed=5)
    assert found == pytest.approx(float(np.mean(scores)), abs=1e-4)


def test_zen_knows_neither_weights_nor_batch_norms_nor_images() -> None:
    module = net(*MIXED)
    found = zen(module, images())
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.weight.mul_(3).add_(1)
                m.bias.add_(2)
    assert zen(module, 5 * images(seed=9)) == found
    assert zen(net(*MIXED, seed=4), images()) == found
    assert zen(module, images(), seed=1) != found


def test_zen_adds_back_what_batch_norm_divides_by() -> None:
    """So that a batch norm behind a convolution changes nothing."""
    torch.manual_seed(0)
    convs = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)]
    plain = nn.Sequential(*convs)
    normed = nn.Sequential(*(part for conv in convs for part in (conv, nn.BatchNorm2d(1))))
    shape = torch.zeros(4, 1, 64, 64)
    assert zen(normed, shape) == pytest.approx(zen(plain, shape), abs=0.05)


def test_zen_cuts_shortcuts() -> None:
    module = net(STEM, [3, "InvertedResidualv2", [16, 2, 1]])
    found = zen(module, images())
    shortcuts = [m for m in module.modules() if isinstance(m, Residual) and m.shortcut]
    assert shortcuts
    for block in shortcuts:
        block.shortcut = False
    assert zen(module, images()) == found


def test_zen_grows_with_depth() -> None:
    assert [zen(net(STEM, [n, "Conv", [16, 3, 1]]), images()) for n in (1, 3, 6)] == sorted(
        zen(net(STEM, [n, "Conv", [16, 3, 1]]), images()) for n in (6, 1, 3)
    )


def test_zen_stays_finite_without_batch_norm() -> None:
    assert math.isfinite(zen(net(STEM, [30, "Fire", [16, 64, 64]]), images(2)))


@pytest.mark.parametrize("name", ["competition", "cpu", "quickstart"])
def test_every_net_of_a_space_has_finite_scores(name: str) -> None:
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(3):
        module = arch.build(suggest(load(name), study.ask()).model, 3, size=64)
        for proxy in PROXIES.values():
            assert math.isfinite(proxy(module, images(4, size=64)))
