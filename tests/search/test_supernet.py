"""The shared weights: every net of a space is cut out of them, and trains them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import spaces
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from compress.data.images import ImageSet
from compress.errors import CompressError
from compress.net import IMAGENET_MEAN, IMAGENET_STD
from compress.train import TrainSpec
from search.candidate import Candidate
from search.dice import Dice
from search.one_shot import sandwich
from search.sample import suggest
from search.space import Space
from search.supernet import Supernet, cut_out

# Every kind of block, kernels and repeats of several sizes, groups that divide neither way
MIXED = spaces.tiny(
    image_size=[24, 32],
    depth_multiple=[0.5, 1.0],
    width_multiple=[0.5, 1.0],
    slots=[
        {"blocks": [{"kind": "Conv", "channels": [16, 24], "kernel": [3, 5], "stride": [1, 2]}]},
        {
            "blocks": [
                {"kind": "DWConv", "channels": [16, 40, 48], "stride": [1, 2]},
                {"kind": "Fire", "squeeze": [8, 16], "expand1x1": [1, 4], "expand3x3": [1.0, 2.0]},
                {"kind": "Pass"},
            ]
        },
        {
            "blocks": [
                {"kind": "InvertedResidualv2", "repeat": [1, 2], "channels": [16, 32], "expansion": [1, 4]},
                {
                    "kind": "InvertedResidualv3",
                    "repeat": {"low": 1, "high": 3},
                    "channels": {"low": 16, "high": 32, "step": 8},
                    "expansion": [1, 3],
                    "kernel": [3, 5],
                    "se": [False, True],
                    "hs": [False, True],
                },
                {"kind": "MBConv", "channels": [16, 32], "expansion": [1, 2.5], "kernel": [3, 7]},
            ]
        },
    ],
    head={"channels": [32, 48], "activation": ["ReLU", "ReLU6"]},
)


@pytest.fixture(scope="module")
def shared() -> Supernet:
    torch.manual_seed(0)
    return Supernet(Space.model_validate(MIXED), classes=5)


@pytest.mark.parametrize("name", ["mixed", "cpu", "quickstart"])
def test_every_net_of_a_space_has_the_weights_of_its_places(name: str) -> None:
    net = Supernet(Space.model_validate(MIXED) if name == "mixed" else spaces.load(name), 6)
    keys = list(net.shared)
    with torch.no_grad():
        for number, weight in enumerate(net.shared.values()):
            weight.fill_(number)
    rng = random.Random(0)
    for i in range(60):
        candidate = net.draw(rng, (None, "low", "high")[i % 3])
        places = [*candidate.places, "head.conv", "head.pool", "head.classes"]
        for of, weight in net.module(candidate).named_parameters():  # raises where it does not fit
            row, rest = of.split(".", 1)
            assert weight.min() == weight.max()
            key = keys[int(weight.flatten()[0])].replace("/", ".")
            assert key.startswith(f"{places[int(row)]}.")
            assert key.endswith(f".{rest}")


CONV = {"kind": "Conv", "channels": [16, 24], "activation": ["ReLU", "Swish", "PReLU"]}
FLAT = [{"kind": kind, "channels": 16} for kind in ("InvertedResidualv2", "InvertedResidualv3", "MBConv")]
FIRE = {"kind": "Fire", "squeeze": 4, "expand1x1": [1, 2], "expand3x3": 2}


@pytest.mark.parametrize(
    "slots",
    [
        [[CONV, {**CONV, "kind": "DWConv"}]],
        [[CONV], [{**block, "repeat": [1, 2], "expansion": [0.5, 1]} for block in FLAT]],
        [[CONV], [{**block, "expansion": {"low": 0.5, "high": 1.0}} for block in FLAT]],
        [[CONV, {"kind": "Pass"}], [{**block, "expansion": 1} for block in FLAT]],
        [[CONV, FIRE], [{**block, "expansion": 1} for block in FLAT]],
    ],
)
def test_what_only_smaller_blocks_have_is_shared_too(slots: list[list[dict[str, Any]]]) -> None:
    head = {"channels": 32, "activation": ["ReLU", "PReLU"]}
    space = spaces.tiny(slots=[{"blocks": blocks} for blocks in slots], head=head)
    net, rng, used = Supernet(Space.model_validate(space), 5), random.Random(0), set[str]()
    for i in range(80):
        candidate = net.draw(rng, (None, "low", "high")[i % 3])
        plain = net.module(candidate)  # raises where a weight is missing, or too small
        places = [*candidate.places, "head.conv", "head.pool", "head.classes"]
        for name, _ in plain.named_parameters():
            row, rest = name.split(".", 1)
            copies = any(part.startswith(f"{row}.1.") for part in plain.state_dict())
            used.add(f"{places[int(row)]}.{rest if copies and rest[0].isdigit() else f'0.{rest}'}")
    assert used == {key.replace("/", ".") for key in net.shared}


def test_a_cut_is_the_first_channels_and_the_centre_by_plain_loops() -> None:
    whole = torch.arange(4 * 3 * 5 * 5.0).reshape(4, 3, 5, 5)
    found = cut_out(whole, torch.Size([2, 2, 3, 3]))
    for o in range(2):
        for i in range(2):
            for y in range(3):
                for x in range(3):
                    assert found[o, i, y, x] == whole[o, i, y + 1, x + 1]
    assert cut_out(torch.arange(6.0), torch.Size([4])).tolist() == [0, 1, 2, 3]
    in_turn = cut_out(whole, torch.Size([1, 4, 1, 1]))[0, :, 0, 0]
    assert in_turn.tolist() == [whole[0, i % 3, 2, 2] for i in range(4)]


def test_run_is_the_net_itself(shared: Supernet) -> None:
    rng = random.Random(1)
    for _ in range(8):
        candidate = shared.draw(rng)
        x = torch.randn(4, 3, candidate.image_size, candidate.image_size)
        alone = shared.module(candidate).train()
        torch.testing.assert_close(shared.run(candidate, x), alone(x))


def test_the_ends_are_the_largest_and_smallest() -> None:
    space = Space.model_validate(MIXED)
    for end, size, repeat, channels in (("low", 24, 1, 16), ("high", 32, 3, 32)):
        candidate = suggest(space, Dice(random.Random(0), end))
        assert candidate.image_size == size
        for row, place in zip(candidate.model["backbone"], candidate.places, strict=False):
            if place == "slot3.InvertedResidualv3":
                assert (row[0], row[2][2]) == (repeat, channels)
    kinds = {suggest(space, Dice(random.Random(i), "high")).places for i in range(20)}
    assert len(kinds) > 3  # blocks have no size: they are drawn


def test_a_step_teaches_as_the_nets_alone_would(shared: Supernet) -> None:
    """The gradient in the shared weights is the sum over the nets', each at its place, added one by one."""
    train = TrainSpec(epochs=1, channels_last=False)
    images = torch.randint(0, 256, (4, 3, 32, 32)).float()
    targets = torch.tensor([0, 1, 2, 3])
    soft = nn.functional.one_hot(targets, 5).float()
    loss = sandwich(shared, _labelled(targets), train, subnets=2)
    drawn: list[Candidate] = []
    largest = shared.draw(random.Random(5), "high")
    x = torch.randn(4, 3, 32, 32)

    shared.zero_grad()
    torch.manual_seed(3)
    original, shared.run = shared.run, lambda c, x: (drawn.append(c), original(c, x))[1]  # type: ignore[method-assign,assignment]
    try:
        loss(original(largest, x), soft, images).backward()
    finally:
        del shared.run
    found = {name: weight.grad.clone() for name, weight in shared.shared.items() if weight.grad is not None}
    assert len(drawn) == 3

    shared.zero_grad()
    logits = shared.run(largest, x)
    cross_entropy(logits, soft).backward()
    says = logits.detach().softmax(1)
    target = torch.stack([says[i, t] * says[i] + (1 - says[i, t]) * soft[i] for i, t in enumerate(targets)])
    for candidate in drawn:
        size = [candidate.image_size] * 2
        small = nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (IMAGENET_MEAN, IMAGENET_STD))
        cross_entropy(shared.run(candidate, (small - mean) / std), target).backward()
    assert found.keys() == {name for name, weight in shared.shared.items() if weight.grad is not None}
    for name, grad in found.items():
        torch.testing.assert_close(grad, shared.shared[name].grad, rtol=1e-3, atol=1e-5)


def test_a_net_of_another_space_is_refused(shared: Supernet) -> None:
    wide = Space.model_validate({**MIXED, "head": {"channels": 64}})
    with pytest.raises(CompressError, match=r"head\.conv: .* is not of this space"):
        shared.module(suggest(wide, Dice(random.Random(0), "high"), 5))


def _labelled(targets: torch.Tensor) -> ImageSet:
    numbers = targets.numpy()
    pixels = np.zeros((len(numbers), 32, 32, 3), np.uint8)
    return ImageSet(pixels, numbers, tuple("abcde"), tuple(map(str, numbers)))
