"""Which channels count least, of a hidden width whose depthwise filters decide."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.ops.channels import find_groups
from compress.ops.importance import scores

DEAD = [0, 3, 4, 7, 9, 10, 12, 15]


class Inverted(nn.Module):
    """A dense, a depthwise and a pointwise convolution; half of the depthwise filters do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.depthwise = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16)
        self.pointwise, self.last = nn.Conv2d(16, 8, 1), nn.Linear(8, 4)
        with torch.no_grad():
            self.depthwise.weight[DEAD] = 0
            nn.init.zeros_(self.depthwise.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.pointwise(self.depthwise(self.dense(x).relu()).relu())
        out: Tensor = self.last(x.mean((2, 3)))
        return out


@pytest.fixture
def inverted() -> Inverted:
    torch.manual_seed(0)
    return Inverted().eval()


def rated(net: nn.Module, kind: str) -> Tensor:
    example = torch.zeros(1, 3, 12, 12)
    groups = [group for group in find_groups(net, example)[0] if group.name == "dense"]
    batch = torch.randn(8, 3, 12, 12), torch.arange(8) % 4
    return scores(net, example, groups, kind, lambda: [batch])["dense"]


@pytest.mark.parametrize("kind", ["l1", "l2", "lamp", "group_taylor"])
def test_channels_whose_depthwise_filter_is_dead_go_first(inverted: Inverted, kind: str) -> None:
    with torch.no_grad():  # in the layers around it all channels are alike
        for layer in (inverted.dense, inverted.pointwise):
            layer.weight.copy_(layer.weight.sign())
    assert sorted(rated(inverted, kind).argsort()[:8].tolist()) == DEAD


@pytest.mark.parametrize(("kind", "power"), [("l1", 1), ("l2", 2)])
def test_magnitude_is_the_mean_over_all_layers_of_a_group(inverted: Inverted, kind: str, power: int) -> None:
    layers = inverted.dense, inverted.depthwise, inverted.pointwise
    dense, depthwise, pointwise = (layer.weight.detach().abs() ** power for layer in layers)
    written = dense.sum((1, 2, 3)) + depthwise.sum((1, 2, 3)) + pointwise.sum((0, 2, 3))
    torch.testing.assert_close(rated(inverted, kind), written / written.mean())


class Led(nn.Module):
    """A depthwise convolution leads the group, as its channels are flattened, or joined with their source."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.dense, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.depthwise, self.joined = nn.Conv2d(16, 16, 3, padding=1, groups=16), joined
        self.pool = nn.MaxPool2d(4)
        self.merge, self.last = nn.Conv2d(32, 8, 1), nn.Linear(8 if joined else 16 * 9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.dense(x)).relu()
        y = self.depthwise(x).relu()
        if self.joined:
            out: Tensor = self.last(self.merge(torch.cat([x, y], 1)).mean((2, 3)))
        else:
            out = self.last(self.pool(y).flatten(1))
        return out


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("kind", ["l1", "l2", "lamp", "group_taylor"])
def test_a_group_that_a_depthwise_convolution_leads_has_a_score_a_channel(kind: str, joined: bool) -> None:
    torch.manual_seed(0)
    net, example = Led(joined).eval(), torch.zeros(1, 3, 12, 12)
    with torch.no_grad():  # what reads these channels does not care for half of them
        if joined:
            net.merge.weight[:, [*DEAD, *(16 + i for i in DEAD)]] = 0
        else:
            net.last.weight.view(4, 16, 9)[:, DEAD] = 0
        for layer in (net.dense, net.depthwise):
            layer.weight.copy_(layer.weight.sign())
    (group,) = (g for g in find_groups(net, example)[0] if g.name in ("dense", "depthwise"))
    batch = torch.randn(8, 3, 12, 12), torch.arange(8) % 4
    score = scores(net, example, [group], kind, lambda: [batch])[group.name]
    assert score.shape == (16,)
    if kind != "lamp":
        assert score.mean() == pytest.approx(1)
    assert sorted(score.argsort()[:8].tolist()) == DEAD
