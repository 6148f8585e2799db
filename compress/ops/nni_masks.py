"""Channels to remove by the masks of NNI 3.0's pruners (extra ``nni``).

NNI decides the masks; slimming is ``compress.ops.channels``'s (NNI's own ModelSpeedup fails on current
torch). Every group of tied layers is one NNI dependency group: its layers share one mask.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.errors import CompressError, MissingExtraError
from compress.ops.widths import Group

Batches = Iterable[tuple[Tensor, Tensor]]
PRUNERS = {"l1": "L1NormPruner", "l2": "L2NormPruner", "fpgm": "FPGMPruner", "group_taylor": "TaylorPruner"}


def require() -> Any:
    """The module ``nni``, kept from printing to the screen.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import nni
        import nni.compression.pruning
    except ImportError as error:
        raise MissingExtraError("nni", "nni") from error
    nni.silence_stdout()
    logging.getLogger("nni").setLevel(logging.WARNING)
    return nni


def masked_channels(
    module: nn.Module,
    groups: Sequence[Group],
    widths: Mapping[str, int],
    kind: str,
    batches: Callable[[], Batches],
) -> dict[str, list[int]]:
    """The output channels that NNI masks when each group is to shrink to its width.

    Args:
        module: float; a copy is masked.
        groups: from ``find_groups``; those not in ``widths`` are left whole.
        kind: ``l1``, ``l2``, ``fpgm`` (He et al. 2019, https://arxiv.org/abs/1811.00250) or
            ``group_taylor`` (Molchanov et al. 2019, https://arxiv.org/abs/1906.10771).
        batches: gives normalised images and int64 targets; called by ``group_taylor`` alone.

    Raises:
        MissingExtraError: NNI is not installed.
    """
    nni = require()
    probe = copy.deepcopy(module).eval()
    touched = {g.name: g for g in groups if widths.get(g.name, g.width) < g.width}
    config = [_config(probe, group, widths[name]) for name, group in touched.items()]
    pruner = getattr(nni.compression.pruning, PRUNERS[kind])
    if kind == "group_taylor":
        data = list(batches())
        made = pruner(probe, config, _evaluator(nni, probe, data), training_steps=len(data))
    else:
        made = pruner(probe, config)
    _, masks = made.compress()
    found = {name: _zeros(masks[name]["weight"]) for name in touched}
    for name, group in touched.items():
        if (
            len(found[name]) != group.width - widths[name]
        ):  # NNI would be at fault: its groups are of one size
            raise CompressError(f"NNI masked {len(found[name])} of {group.width} channels of {name}")
    return found


def _config(module: nn.Module, group: Group, width: int) -> dict[str, Any]:
    """NNI's config of one group: one mask for all its layers whose weights have the shape of the first."""
    from nni.compression.base.setting import PruningSetting

    first: Any = module.get_submodule(group.name)
    names = []
    for name in group.tied:
        layer: Any = module.get_submodule(name)
        if layer.weight.ndim == first.weight.ndim:
            names.append(name)
            kind = "Linear" if isinstance(layer, nn.Linear) else f"Conv{layer.weight.ndim - 2}d"
            PruningSetting.registry.setdefault(type(layer).__name__, PruningSetting.registry[kind])
    return {
        "op_names": names,
        # NNI rounds a layer's masked channels down: half a channel more makes it exact.
        "sparse_ratio": (group.width - width + 0.5 * group.blocks) / group.width,
        "dependency_group_id": group.name,
        "internal_metric_block": group.blocks,
    }


def _evaluator(nni: Any, module: nn.Module, data: Sequence[tuple[Tensor, Tensor]]) -> Any:
    """What TaylorPruner takes its gradients from: one pass over ``data`` with a learning rate of 0.

    The weights stay as they are, so the gradients are those of the net that is pruned.
    """
    from nni.compression.utils import TorchEvaluator

    def step(batch: tuple[Tensor, Tensor], model: nn.Module) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def train(
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        training_step: Callable[..., Tensor],
        _schedulers: Any = None,
        max_steps: int | None = None,
        _max_epochs: int | None = None,
    ) -> None:
        for batch in data[:max_steps]:
            optimizer.zero_grad()
            training_step(batch, model).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    optimizer = nni.trace(torch.optim.SGD)(module.parameters(), lr=0.0)
    return TorchEvaluator(train, optimizer, step)


def _zeros(mask: Tensor) -> list[int]:
    """Indices of the output channels that a weight's mask zeroes."""
    return [int(i) for i in (mask.flatten(1).amax(1) == 0).nonzero().flatten()]
