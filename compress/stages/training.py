"""Training inside a stage: the recipe's settings, shortened and gentler."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from compress.net import Net
from compress.spec import digest
from compress.stages.base import Context

if TYPE_CHECKING:
    from compress.train import FitResult, LossFn

FINE_TUNE = 0.2  # of the recipe's learning rate: the net has learned already
QAT = 0.01  # with batch norm folded away nothing rescales a step too large


def train_net(
    net: Net,
    ctx: Context,
    *,
    epochs: int,
    lr: float | None = None,
    loss: LossFn | None = None,
    name: str = "fit",
    mixup: float | None = None,
    views: int | None = None,
) -> FitResult:
    """Train ``net.module`` in place with ``ctx.train_spec``, on a cosine schedule.

    An int8 net (``net.quant``) trains under fake quantisation, that is quantization-aware.

    Args:
        epochs: instead of the recipe's.
        lr: peak learning rate; left out, ``default_lr``.
        loss: see ``compress.train.fit``.
        name: of this training among those of the stage: its folder in ``ctx.work``, and its draws.
        mixup, views: instead of the recipe's, where given.
    """
    from compress.train import fit

    changes = {"epochs": epochs, "lr": lr or default_lr(net, ctx), "schedule": "cosine"}
    changes |= {k: v for k, v in (("mixup", mixup), ("views", views)) if v is not None}
    spec = ctx.train_spec.changed(**changes)
    with _as_deployed(net):
        return fit(
            net.module,
            ctx.train,
            spec,
            preprocess=net.preprocess,
            loss=loss,
            tune=ctx.tune,
            seed=seed_of(ctx, name),
            work=ctx.work / name,
            progress=ctx.progress,
            log=ctx.log,
        )


def default_lr(net: Net, ctx: Context, share: float = FINE_TUNE) -> float:
    """The recipe's peak learning rate times ``share``, or times 0.01 for an int8 net."""
    return float(ctx.train_spec.peak_lr * (share if net.quant is None else QAT))


def seed_of(ctx: Context, name: str) -> int:
    """A seed of its own for each training of a stage."""
    return int(digest(ctx.seed, name)[:8], 16)


def _as_deployed(net: Net) -> AbstractContextManager[None]:
    if net.quant is None:
        return nullcontext()
    import torch

    from compress.ops.fakequant import fake_quantized
    from compress.training.batch import inputs

    images = torch.from_numpy(net.quant.images).permute(0, 3, 1, 2)
    calibration = inputs(images, net.preprocess)
    return fake_quantized(net.module, calibration, net.quant.method, net.quant.exclude)
