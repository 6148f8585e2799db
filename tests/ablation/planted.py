"""Stages with a known effect, on a small net of one's own (importable, so that nets pickle)."""

from __future__ import annotations

from errno import ENOSPC
from typing import Any, Literal

import torch
from torch import nn

from compress import AblationSpec, F1Macs, Recipe, TorchRuntime, TrainSpec
from compress.data.digits import DigitsData
from compress.errors import CompressError
from compress.net import Net
from compress.stages.base import Context, Plan, Stage

KINDS = ("leave_one_out", "only_one", "order")


def recipe(*stages: Stage, **ablation: Any) -> Recipe:
    """F1 alone decides here (the MACs stay): no clock can make these tests fail."""
    return Recipe(
        name="planted",
        data=DigitsData(image_size=8),
        train=TrainSpec(epochs=8, batch_size=64, augment={"kind": "none"}),
        runtime=TorchRuntime(),
        metric=F1Macs(f1_base=None, macs_base=None, f1_floor=0.0),
        stages=stages,
        ablation=AblationSpec(**{"kinds": KINDS, "seeds": 1, **ablation}),
    )


def quiet(line: str) -> None:
    """Takes a log."""


def small_net() -> nn.Module:
    """8 px digits; scaling one layer up and the next one down changes no output."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, 2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32, 10),
        )


class Rescale(Stage):
    """Useless: other weights, the same function to the last bit (powers of two)."""

    kind: Literal["rescale"] = "rescale"
    by: float = 2.0

    def plan(self, net: Net, ctx: Context) -> Plan:
        return Plan()

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        module: Any = net.module
        with torch.no_grad():
            module[0].weight.mul_(self.by)
            module[0].bias.mul_(self.by)
            module[2].weight.div_(self.by)
        return net


class Blind(Stage):
    """Harmful: half of the features are never seen again."""

    kind: Literal["blind"] = "blind"
    strength = "share"
    share: float = 0.5

    def plan(self, net: Net, ctx: Context) -> Plan:
        return Plan()

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        module: Any = net.module
        with torch.no_grad():
            module[5].weight[:, : round(32 * self.share)] = 0
        return net


class Break(Stage):
    """Fails after ``rescale``, and nowhere else: as a stage does, as torch does, or for want of disk."""

    kind: Literal["break"] = "break"
    how: Literal["ours", "torch", "disk"] = "ours"

    def plan(self, net: Net, ctx: Context) -> Plan:
        return Plan()

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        module: Any = net.module
        if torch.equal(module[0].weight, 2 * ctx.baseline.module[0].weight):  # type: ignore[index, operator]
            if self.how == "torch":
                raise RuntimeError("out of memory\nand a long story of where")
            if self.how == "disk":
                raise OSError(ENOSPC, "No space left on device")
            raise CompressError("this net was scaled")
        return Blind().apply(net, plan, ctx)


class Declines(Stage):
    """Never does anything, and says so."""

    kind: Literal["declines"] = "declines"

    def plan(self, net: Net, ctx: Context) -> Plan:
        return Plan(skip="nothing to do")

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        raise AssertionError("it was skipped")
