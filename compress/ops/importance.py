"""How much each channel matters: scores by which the least important go first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.ops.channels import dependency_graph, full_group

if TYPE_CHECKING:
    from compress.ops.widths import Group

Batches = Iterable[tuple[Tensor, Tensor]]


def scores(
    module: nn.Module, example: Tensor, groups: Sequence[Group], kind: str, batches: Callable[[], Batches]
) -> dict[str, Tensor]:
    """One score for each removable channel, by group name; each group's mean is 1 (but for ``lamp``).

    What counts, by torch-pruning's group importances: the convolutions and linears of a group that read or
    write a channel, by their weights, and its layer norms; by magnitude (all kinds but ``group_taylor``) its
    batch norms and depthwise convolutions, too.

    Args:
        kind: ``l1``, ``l2`` (Li et al. 2017, https://arxiv.org/abs/1608.08710), ``lamp`` (Lee et al.
            2021, https://arxiv.org/abs/2010.07611) or ``group_taylor`` (Molchanov et al. 2019,
            https://arxiv.org/abs/1906.10771).
        batches: gives normalised images and int64 targets; called by ``group_taylor`` alone.

    Returns:
        ``width / blocks`` values each, the mean over the blocks of a grouped convolution.
    """
    import torch_pruning as tp

    makers: dict[str, Callable[[], Any]] = {
        "l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
        "l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
        "lamp": lambda: tp.importance.LAMPImportance(p=2),
        "group_taylor": lambda: tp.importance.GroupTaylorImportance(),
    }
    probe = copy.deepcopy(module).eval()
    if kind == "group_taylor":
        fill_gradients(probe, batches())
    found = {}
    with dependency_graph(probe, example) as graph:
        for group in groups:
            tied = full_group(graph, probe.get_submodule(group.name))
            importance = makers[kind]()
            if kind == "group_taylor":
                _size_by_root(importance, group.width)
            else:
                _count_depthwise(tied)
            score = importance(tied)
            # A group that is dead (all scores 0) has mean 0: its channels are the first to go.
            found[group.name] = torch.nan_to_num(score.detach()).view(group.blocks, -1).mean(0)
    return found


def _size_by_root(importance: Any, width: int) -> None:
    """Let torch-pruning add up one score a channel: it makes as many as the first layer that counts has, and
    where a depthwise convolution, which does not, leads a group, that may be a flattened map's."""
    reduce = importance._reduce
    importance._reduce = lambda found, at: reduce([torch.zeros(width), *found], [list(range(width)), *at])


def _count_depthwise(tied: Any) -> None:
    """Let torch-pruning's magnitudes see the filters of depthwise convolutions, which they leave out: rows of
    a weight like any other's."""
    import torch_pruning as tp

    for dependency, _ in tied:
        if dependency.handler == tp.prune_depthwise_conv_out_channels:
            dependency.handler = tp.prune_conv_out_channels


def fill_gradients(module: nn.Module, batches: Batches) -> None:
    """Set every ``grad`` to the root mean square, over batches, of the cross-entropy's gradient.

    Squared before they are averaged, since the mean gradient of a trained net is about zero.
    """
    parameters = [p.requires_grad_(True) for p in module.parameters()]
    squares = [torch.zeros_like(p) for p in parameters]
    count = 0
    for images, targets in batches:
        loss = F.cross_entropy(module(images), targets)
        for total, grad in zip(
            squares, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
        ):
            if grad is not None:
                total += grad.square()
        count += 1
    for parameter, total in zip(parameters, squares, strict=True):
        parameter.grad = (total / max(count, 1)).sqrt()
