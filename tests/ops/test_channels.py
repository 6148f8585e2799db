"""The dependency graph's groups: what may go together, what may not, and what is left after."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from coherent import check_coherent
from torch import Tensor, nn
from torchvision.models import get_model

from compress.errors import CompressError
from compress.ops.channels import find_groups, list_groups, remove_channels
from compress.ops.flops import count_macs
from compress.ops.widths import lowest

SIZE = 32
X = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
EXAMPLE = torch.zeros(1, 3, SIZE, SIZE)


def conv(cin: int, cout: int, k: int = 1, **more: int) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, k, padding=k // 2, **more)


class Bottleneck(nn.Module):
    """Expansion, depthwise, squeeze-and-excitation, projection, and the input added."""

    def __init__(self, width: int, mid: int, squeeze: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(conv(width, mid), nn.BatchNorm2d(mid), nn.Hardswish(inplace=True))
        self.depthwise = nn.Sequential(conv(mid, mid, 3, groups=mid), nn.BatchNorm2d(mid))
        self.fc1, self.fc2 = conv(mid, squeeze), conv(squeeze, mid)
        self.project = nn.Sequential(conv(mid, width), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        y = y * F.hardsigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(y, 1)))))
        out: Tensor = x + self.project(y)
        return out


def bottleneck_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        conv(3, 8, 3),
        Bottleneck(8, 12, 4),
        conv(8, 6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    assert tensor is not None
                    tensor.uniform_(0.5, 1.5)
    return net.eval()


class Cat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.left, self.right = conv(3, 8), conv(8, 6), conv(8, 4, 3)
        self.head = conv(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.adaptive_avg_pool2d(self.head(torch.cat([self.left(x), self.right(x)], 1)), 1).flatten(1)


class Shuffled(nn.Module):
    """``b``'s channels are dealt out in another order before ``c`` reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 8), conv(8, 8), conv(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.b(F.relu(self.a(x))))
        y = torch.stack([y[:, i] for i in (3, 0, 5, 1, 7, 2, 6, 4)], 1)
        out: Tensor = self.head(F.relu(self.c(y)).mean((2, 3)))
        return out


class Scaled(nn.Module):
    """A bare parameter scales the channels of ``a``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 8), conv(8, 8), conv(8, 5)
        self.gamma = nn.Parameter(torch.rand(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.head(self.b(self.a(x) * self.gamma)), 1).flatten(1)


def plain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def test_groups_of_a_block_with_everything() -> None:
    groups, fixed = find_groups(bottleneck_net(), EXAMPLE)
    assert [(g.name, g.width, g.tied) for g in groups] == [
        ("0", 8, ("0", "1.project.0")),
        ("1.expand.0", 12, ("1.expand.0", "1.fc2", "1.depthwise.0")),
        ("1.fc1", 4, ("1.fc1",)),
        ("2", 6, ("2",)),
    ]
    assert fixed == {"5": "its channels are the net's outputs"}


def test_removal_by_hand_gives_the_same_net() -> None:
    """Channel surgery written out, tensor by tensor, for residual, SE and depthwise at once."""
    net = bottleneck_net()
    slim = copy.deepcopy(net)
    remove_channels(slim, EXAMPLE, {"0": [1, 6], "1.expand.0": [0, 5, 11], "1.fc1": [2]})
    trunk, mid, squeeze = [0, 2, 3, 4, 5, 7], [1, 2, 3, 4, 6, 7, 8, 9, 10], [0, 1, 3]
    keep = {
        "0": (trunk, None),
        "1.expand.0": (mid, trunk),
        "1.expand.1": (mid, None),
        "1.depthwise.0": (mid, None),
        "1.depthwise.1": (mid, None),
        "1.fc1": (squeeze, mid),
        "1.fc2": (mid, squeeze),
        "1.project.0": (trunk, mid),
        "1.project.1": (trunk, None),
        "2": (None, trunk),
    }
    state = net.state_dict()
    for name, (outs, ins) in keep.items():
        for key in [k for k in state if k.startswith(name + ".") and state[k].ndim]:
            value = state[key]
            value = value if outs is None else value[outs]
            state[key] = value[:, ins] if ins is not None and value.ndim > 1 else value
    for key, value in slim.state_dict().items():
        assert torch.equal(value, state[key]), key
    check_coherent(slim)


def upsampling(wide: int, narrow: int) -> nn.Module:
    return plain(conv(3, wide), nn.ConvTranspose2d(wide, narrow, 2, 2), nn.ReLU(), conv(narrow, 5))


NETS: dict[str, Callable[[], nn.Module]] = {
    "everything": bottleneck_net,
    "concatenation": lambda: Cat().eval(),
    "flattened": lambda: nn.Sequential(
        conv(3, 8), nn.MaxPool2d(16), nn.Flatten(), nn.Linear(32, 6), nn.Linear(6, 5)
    ),
    "grouped": lambda: plain(
        conv(3, 8), conv(8, 12, 3, groups=4), nn.ReLU(), conv(12, 8), nn.ReLU(), conv(8, 5)
    ),
    "v3": lambda: get_model("mobilenet_v3_small", num_classes=5).eval(),
    "v2": lambda: get_model("mobilenet_v2", num_classes=5).eval(),
}


@pytest.mark.parametrize("name", NETS)
def test_pruned_equals_cut(name: str) -> None:
    """A net without some channels computes what the net computes when nothing reads those channels."""
    torch.manual_seed(0)
    net = NETS[name]()
    groups, _ = find_groups(net, EXAMPLE)
    assert groups
    for group in groups[:: 1 + len(groups) // 6]:
        narrow = group.width - max(group.blocks, group.width // 3 // group.blocks * group.blocks)
        gone = lowest(group, narrow, torch.rand(group.width // group.blocks))
        slim = copy.deepcopy(net)
        remove_channels(slim, EXAMPLE, {group.name: gone})
        check_coherent(slim)
        cut = copy.deepcopy(net)
        for path, columns in kept_columns(net, {group.name: gone}).items():
            weight: Any = cut.get_submodule(path).weight
            unread = [i for i in range(weight.shape[1]) if i not in columns]
            with torch.no_grad():
                weight[:, unread] = 0
        with torch.no_grad():
            a, b = cut(X), slim(X)
        assert (a - b).abs().max() <= 1e-5 * a.abs().max() + 1e-7, group.name


def kept_columns(net: nn.Module, removed: dict[str, list[int]]) -> dict[str, list[int]]:
    """Which input columns of every weight survive, read off weights that hold their column's number."""
    tagged: Any = copy.deepcopy(net)
    layers = {name: m for name, m in tagged.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    for layer in layers.values():
        columns = torch.arange(layer.weight.shape[1]).view(1, -1, *[1] * (layer.weight.ndim - 2))
        layer.weight.data = columns.expand_as(layer.weight).float().clone()
    remove_channels(tagged, EXAMPLE, removed)
    return {
        name: layer.weight.flatten(2)[0, :, 0].int().tolist()
        if layer.weight.ndim > 2
        else layer.weight[0].int().tolist()
        for name, layer in layers.items()
    }


def test_channels_dealt_out_anew_are_found_out() -> None:
    torch.manual_seed(0)
    groups, fixed = find_groups(Shuffled().eval(), EXAMPLE)
    assert [g.name for g in groups] == ["a", "c"]
    assert "mixes" in fixed["b"]


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.GroupNorm(2, 8)])
def test_channels_dealt_out_anew_are_found_out_in_a_net_with_a_norm_over_them(norm: nn.Module) -> None:
    torch.manual_seed(0)
    shuffle = nn.ChannelShuffle(2)  # of any even number of channels: no shape clashes
    net = nn.Sequential(conv(3, 8), nn.ReLU(), shuffle, conv(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    groups, fixed = find_groups(nn.Sequential(*net, norm, nn.Linear(8, 5)).eval(), EXAMPLE, round_to=4)
    assert [g.name for g in groups] == ["3"]
    assert "mixes" in fixed["0"]


@pytest.mark.parametrize(("wide", "narrow"), [(12, 6), (6, 12)])
def test_a_transposed_convolution_is_pruned_on_both_sides(wide: int, narrow: int) -> None:
    torch.manual_seed(0)
    net = upsampling(wide, narrow)
    groups, _ = find_groups(net, EXAMPLE)
    assert [(g.name, g.width) for g in groups] == [("0", wide), ("1", narrow)]
    slim = copy.deepcopy(net)
    remove_channels(slim, EXAMPLE, {"0": [1, 5], "1": [0, 3]})
    with torch.no_grad():
        net[1].weight[[1, 5]] = 0  # type: ignore[index]
        net[3].weight[:, [0, 3]] = 0  # type: ignore[index]
        torch.testing.assert_close(slim(X), net(X))


@pytest.mark.parametrize(
    ("net", "layer", "why"),
    [
        (lambda: Scaled().eval(), "a", "bare parameter"),
        (lambda: plain(conv(3, 8), conv(8, 16, 3, groups=8), conv(16, 5)), "0", "multiplier"),
        (lambda: plain(conv(3, 8), conv(8, 5)), "1", "net's outputs"),
        (lambda: plain(conv(3, 16), nn.PixelShuffle(2), conv(4, 8), conv(8, 5)), "0", "cannot be followed"),
        (
            lambda: nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1)),
            "0",
            "outputs",
        ),
    ],
)
def test_what_cannot_be_touched_and_why(net: Callable[[], nn.Module], layer: str, why: str) -> None:
    groups, fixed = find_groups(net(), EXAMPLE)
    assert why in fixed[layer]
    assert all(layer not in group.tied for group in groups)


def test_an_identity_from_the_input_is_found_out() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head = conv(3, 3), conv(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(x + self.a(x)).mean((2, 3))
            return out

    groups, fixed = find_groups(Skip().eval(), EXAMPLE)
    assert not groups
    assert "cannot be followed" in fixed["a"]


def test_ignored_modules_keep_all_their_layers() -> None:
    groups, fixed = find_groups(bottleneck_net(), EXAMPLE, ignore=("1",))
    assert [g.name for g in groups] == ["2"]
    assert fixed["0"] == fixed["1.fc1"] == "ignored by the recipe"  # 0 is tied to 1 by the addition


def test_looking_leaves_the_net_as_it_is() -> None:
    net = bottleneck_net().train()
    net[1].fc1.requires_grad_(False)  # type: ignore[index]
    before = pickle.dumps(net)
    find_groups(net, EXAMPLE)
    list_groups(net, EXAMPLE)
    assert pickle.dumps(net) == before


def test_frozen_stays_frozen_and_training_stays_training() -> None:
    net = bottleneck_net()
    net[1].fc1.requires_grad_(False)  # type: ignore[index]
    net[1].train()  # type: ignore[index]
    with torch.no_grad():  # the trace needs gradients even where the caller has none
        remove_channels(net, EXAMPLE, {"1.fc1": [0], "0": [3]})
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"1.fc1.weight", "1.fc1.bias"}
    assert net[1].training  # type: ignore[index]
    assert not net[0].training  # type: ignore[index]


def test_a_pruned_net_copies_pickles_and_trains() -> None:
    net = bottleneck_net()
    remove_channels(net, EXAMPLE, {"0": [1], "1.expand.0": [0, 2]})
    again = pickle.loads(pickle.dumps(copy.deepcopy(net)))
    assert torch.equal(again(X), net(X))
    again.train()
    again(X).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in again.parameters())


def test_two_nets_in_a_row_do_not_share_state() -> None:
    """torch-pruning's defaults leak between its pruners: groups of one net must not show in the next."""
    first = NETS["grouped"]()
    groups, _ = find_groups(first, EXAMPLE)
    assert {g.blocks for g in groups} == {1, 4}
    groups, _ = find_groups(NETS["concatenation"](), EXAMPLE)
    assert {g.blocks for g in groups} == {1}


def test_removing_every_channel_is_refused() -> None:
    with pytest.raises(CompressError, match="leave a layer with none"):
        remove_channels(bottleneck_net(), EXAMPLE, {"2": range(6)})


def test_a_net_the_graph_cannot_follow_is_named_as_such() -> None:
    net = get_model("shufflenet_v2_x0_5", num_classes=5).eval()
    with pytest.raises(CompressError, match="cannot follow the graph"):
        find_groups(net, EXAMPLE)


@pytest.mark.parametrize(("name", "millions"), [("mobilenet_v3_small", 56.5), ("mobilenet_v2", 300.8)])
def test_macs_are_the_published_ones(name: str, millions: float) -> None:
    module = get_model(name).train()
    assert count_macs(module, torch.zeros(1, 3, 224, 224)) / 1e6 == pytest.approx(millions, abs=0.05)
    assert module.training


def test_macs_of_subclasses_and_functional_calls_count() -> None:
    class Same(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight)

    assert count_macs(Same(3, 4, 3, bias=False), torch.zeros(2, 3, 8, 8)) == 2 * 4 * 8 * 8 * 3 * 9
