"""More training of the net as it is."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from compress.net import Net
from compress.stages.base import Context, Plan, Stage
from compress.stages.training import default_lr, train_net


class Finetune(Stage):
    """Train on with the recipe's settings; after quantize, quantization-aware."""

    kind: Literal["finetune"] = "finetune"
    epochs: int = Field(10, ge=1, description="Passes over train.")
    lr: float | None = Field(
        None, gt=0, description="Peak learning rate; 0.2 of the recipe's, 0.01 of it after quantize."
    )

    after_quantize: ClassVar[bool] = True

    def plan(self, net: Net, ctx: Context) -> Plan:
        how = "float" if net.quant is None else "quantization-aware"
        lr = self.lr or default_lr(net, ctx)
        return Plan(notes=(f"{self.epochs} epochs, {how}, learning rate {lr:g}",))

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        train_net(net, ctx, epochs=self.epochs, lr=self.lr, name="finetune")
        return net
