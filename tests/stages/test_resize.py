"""Resize: the same net on smaller images, trained, measured and followed by stages at the new size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tinynet import TinyNet, make_context
from torch import Tensor, nn

from compress.data.images import ImageSet
from compress.errors import CompressError, InputError
from compress.net import Net
from compress.stages.base import Context, Plan
from compress.stages.quantize import Quantize
from compress.stages.resize import Resize


class Watching(TinyNet):
    """A TinyNet that remembers the sizes it was given in training."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.sizes.add(x.shape[-1])
        y: Tensor = super().forward(x)
        return y


def test_trains_on_images_of_the_new_size_alone(small_net: Net, ctx: Context) -> None:
    net = replace(small_net, module=Watching().eval())
    stage = Resize(size=12, epochs=1)
    plan = stage.plan(net, ctx)
    assert plan.skip is None
    assert plan.notes == ("images of side 16 -> 12, 56% of the pixels; 1 epochs, learning rate 0.02",)
    out = stage.apply(net, plan, ctx)
    assert out.preprocess.size == 12
    assert out.module.sizes == {12}
    assert ctx.train.images.shape[1] == 16  # the stage's own view changed, not what it was given


def test_a_net_that_learned_at_16_px_is_better_at_12_px_for_it(
    learned_net: Net, learned_ctx: Context
) -> None:
    ctx = learned_ctx.at(12)
    before = replace(learned_net.copy(), preprocess=replace(learned_net.preprocess, size=12))
    stage = Resize(size=12, epochs=5, lr=0.05)
    after = stage.apply(learned_net.copy(), stage.plan(learned_net, learned_ctx), learned_ctx)
    assert ctx.bench.f1(after, ctx.tune) > ctx.bench.f1(before, ctx.tune) + 0.02


def test_what_is_not_smaller_is_a_skip(small_net: Net, ctx: Context) -> None:
    for size in (16, 32):
        skip = Resize(size=size).plan(small_net, ctx).skip
        assert skip == f"the net's images are of side 16 already, {size} is not smaller"


def test_a_net_made_for_one_size_is_named_before_any_training(ctx: Context) -> None:
    net = Net(
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10)), ctx.baseline.preprocess, ctx.train.labels
    )
    with pytest.raises(InputError, match="resize: the net cannot take images of side 12"):
        Resize(size=12).plan(net, ctx)


class Asserts(TinyNet):
    """As torchvision's ViT; ``said`` is empty where somebody's own net gives no reason."""

    def __init__(self, said: str) -> None:
        super().__init__()
        self.said = said

    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.shape[-1] == 16, self.said)
        y: Tensor = super().forward(x)
        return y


@pytest.mark.parametrize("said", ["Wrong image height!", ""])
def test_a_net_that_asserts_its_size_is_named_as_well(ctx: Context, said: str) -> None:
    net = Net(Asserts(said), ctx.baseline.preprocess, ctx.train.labels)
    with pytest.raises(InputError, match=f"cannot take images of side 12: AssertionError.*{said}$"):
        Resize(size=12).plan(net, ctx)


def test_quantize_after_it_calibrates_at_the_new_size(small_net: Net, ctx: Context) -> None:
    stage = Resize(size=12, epochs=1)
    net = stage.apply(small_net, stage.plan(small_net, ctx), ctx)
    int8 = Quantize(samples=8).apply(net, Plan(what={"method": "minmax", "exclude": []}), ctx.at(12))
    assert int8.quant is not None
    assert int8.quant.images.shape == (8, 12, 12, 3)


def test_a_context_at_another_size(tmp_path: Path, small_net: Net) -> None:
    ctx = make_context(tmp_path, small_net)
    assert ctx.at(16) is ctx
    asked: list[tuple[int, int]] = []

    def resized(data: ImageSet, size: int) -> ImageSet:
        asked.append((len(data), size))
        return replace(data, images=np.zeros((len(data), size, size, 3), np.uint8))

    smaller = replace(ctx, resized=resized).at(8)
    assert asked == [(200, 8), (60, 8), (64, 8)]
    assert [d.images.shape[1] for d in (smaller.train, smaller.tune, smaller.calib)] == [8, 8, 8]
    with pytest.raises(CompressError, match="side 16, not 8"):
        replace(ctx, resized=None).at(8)


def test_weaker_is_larger_and_whole_pixels(small_net: Net, ctx: Context) -> None:
    """``retry`` gives numbers; a size is a whole one, and the plan says which."""
    tries = Resize(size=8, retry=(10, 12.0)).tries()
    sizes = [one.plan(small_net, ctx).what["size"] for one in tries]
    assert sizes == [8, 10, 12]
    assert all(type(size) is int for size in sizes)
    with pytest.raises(ValueError, match="retry"):
        Resize(size=8, retry=(10.5,))
