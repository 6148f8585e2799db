"""The same net on smaller images: time goes with their area, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from compress.errors import InputError, NoEffectError, told
from compress.net import Net
from compress.stages.base import Context, Plan, Stage
from compress.stages.training import default_lr, train_net


class Resize(Stage):
    """Give the net smaller images and train it on them.

    What trains a net at one size and measures it at another finds other statistics (Touvron et al., Fixing
    the train-test resolution discrepancy, 2019), so all its images are of the new size: in training, for
    calibration, when scored and when deployed.
    """

    kind: Literal["resize"] = "resize"
    strength: ClassVar[str | None] = "size"
    size: int = Field(96, ge=8, le=2048, description="Side of the square images, pixels.")
    epochs: int = Field(5, ge=1, description="Passes over train at the new size.")
    lr: float | None = Field(None, gt=0, description="Peak learning rate; 0.2 of the recipe's.")

    def plan(self, net: Net, ctx: Context) -> Plan:
        """Skips what would not make images smaller.

        Raises:
            InputError: the net cannot take images of that size.
        """
        old, size = net.preprocess.size, int(self.size)
        if size >= old:
            return Plan(skip=f"the net's images are of side {old} already, {size} is not smaller")
        _try(net, size)
        lr = self.lr or default_lr(net, ctx)
        pixels = f"images of side {old} -> {size}, {(size / old) ** 2:.0%} of the pixels"
        return Plan(what={"size": size}, notes=(f"{pixels}; {self.epochs} epochs, learning rate {lr:g}",))

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        if not plan.what:
            raise NoEffectError("resize: the plan names no size")
        size = plan.what["size"]
        net.preprocess = replace(net.preprocess, size=size)
        train_net(net, ctx.at(size), epochs=self.epochs, lr=self.lr, name="resize")
        return net


def _try(net: Net, size: int) -> None:
    """Layers may want maps of one size: a flattened map, a pooling larger than what is left."""
    import torch

    try:
        with torch.no_grad():
            net.module.eval()(torch.zeros(2, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:  # a ViT asserts its size
        raise InputError(f"resize: the net cannot take images of side {size}: {told(error)}") from error
