"""Which channels of a net can be removed together, and removing them.

The dependency graph is torch-pruning's (Fang et al. 2023, DepGraph, https://arxiv.org/abs/2301.12900):
residual additions, squeeze-and-excitation, depthwise and grouped convolutions, concatenations.
Where it would guess wrong (an operation that mixes channels), the group is found out by running the
net, and left alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import CompressError
from compress.ops.surgery import is_under
from compress.ops.widths import Group, allowed_widths, lowest

_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_MIXING = (nn.GroupNorm, nn.LayerNorm)  # their output depends on how many channels there are


@contextmanager
def dependency_graph(module: nn.Module, example: Tensor) -> Iterator[Any]:
    """torch-pruning's ``DependencyGraph`` of ``module``, traced with ``example`` in eval mode.

    While it is open every parameter requires a gradient (the trace follows autograd); afterwards
    frozen parameters, the pruned ones too, are frozen again, and training modes are as before.

    Raises:
        CompressError: torch-pruning cannot follow this net.
    """
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    training = [layer for layer in module.modules() if layer.training]
    module.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield _build(module, example)
    finally:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name not in frozen)
        for layer in training:
            layer.training = True


def _build(module: nn.Module, example: Tensor) -> Any:
    import torch_pruning as tp

    try:
        # A bare tensor would be unpacked along its batch, and 3-D input runs in nets without BN.
        return tp.DependencyGraph().build_dependency(module, (example,), verbose=False)
    except Exception as error:  # of many kinds: whatever its index arithmetic runs into
        kind = type(error).__name__
        raise CompressError(f"torch-pruning cannot follow the graph of this net ({kind}: {error})") from error


def full_group(graph: Any, layer: nn.Module, index: Sequence[int] | None = None) -> Any:
    """The graph's group that removing output channels ``index`` (default all) of ``layer`` entails."""
    pruner = graph.get_pruner_of_module(layer)
    index = range(pruner.get_out_channels(layer)) if index is None else index
    return graph.get_pruning_group(layer, pruner.prune_out_channels, list(index))


def find_groups(
    module: nn.Module,
    example: Tensor,
    *,
    round_to: int = 1,
    max_layer: float = 1.0,
    ignore: Sequence[str] = (),
) -> tuple[list[Group], dict[str, str]]:
    """The groups whose channels can be removed, in the order of the net, and the rest with reasons.

    Each was tried on a copy: removing its channels must equal cutting every use of them.
    ``module`` is left as it is. ``ignore`` names layers, or modules with layers inside, to keep.

    Returns:
        groups with more than one allowed width; and the reason by layer name for all others.

    Raises:
        CompressError: torch-pruning cannot follow this net.
    """
    groups, fixed = list_groups(module, example, round_to=round_to, max_layer=max_layer, ignore=ignore)
    sound, unsound = _sound(module, example, groups)
    return sound, fixed | unsound


def list_groups(
    module: nn.Module,
    example: Tensor,
    *,
    round_to: int = 1,
    max_layer: float = 1.0,
    ignore: Sequence[str] = (),
) -> tuple[list[Group], dict[str, str]]:
    """As ``find_groups`` but by the graph alone, untried."""
    probe = copy.deepcopy(module)
    names = {layer: name for name, layer in probe.named_modules()}
    rank = {name: i for i, name in enumerate(names.values())}
    groups: list[Group] = []
    fixed: dict[str, str] = {}
    with dependency_graph(probe, example) as graph:
        for items in graph.get_all_groups():
            width = len(items[0].idxs)
            outs = [i.dep.target.module for i in items if graph.is_out_channel_pruning_fn(i.dep.handler)]
            same = [i.dep.target.module for i in items if list(i.idxs) == list(range(width))]
            tied = [m for m in outs if isinstance(m, _LAYERS) and m in same]
            if len(same) == len(items):  # one numbering: any layer may lend its name; a dense one reads best
                tied.sort(key=lambda m: (getattr(m, "groups", 1) > 1, rank[names[m]]))
            layers = [i.dep.target.module for i in items]
            blocks = math.lcm(*map(_blocks, layers))
            # With one channel a block it would be depthwise, and the groups of the net others than these.
            above = max((b for m in layers if isinstance(m, _LAYERS) and (b := _blocks(m)) > 1), default=0)
            allowed = allowed_widths(
                width, round_to=round_to, max_layer=max_layer, blocks=blocks, above=above
            )
            group = Group(names[tied[0]], width, allowed, blocks, tuple(names[m] for m in tied))
            reason = _reason(graph, items, group, ignore)
            if reason is None:
                groups.append(group)
            else:
                fixed |= dict.fromkeys(group.tied, reason)
    groups.sort(key=lambda group: rank[group.name])
    return groups, fixed


def _blocks(layer: Any) -> int:
    """Into how many equal blocks a layer ties its channels; a depthwise convolution ties none."""
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups
    return layer.groups if isinstance(layer, _LAYERS[0]) and layer.groups != layer.out_channels else 1


def _reason(graph: Any, items: Any, group: Group, ignore: Sequence[str]) -> str | None:
    """Why a group cannot be touched, or None."""
    for item in items:
        target = item.dep.target
        if not target.outputs and graph.is_out_channel_pruning_fn(item.dep.handler):
            return "its channels are the net's outputs"
        if isinstance(target.module, nn.Parameter):
            return "tied to a bare parameter, whose channels cannot be told"
        if isinstance(target.module, _LAYERS[0]):
            conv = target.module
            if 1 < conv.groups == conv.in_channels != conv.out_channels:
                return "tied to a depthwise convolution with a multiplier"
    if any(is_under(name, ignore) for name in group.tied):
        return "ignored by the recipe"
    if len(group.allowed) == 1:
        return "no narrower width is allowed"
    return None


def _sound(module: nn.Module, example: Tensor, groups: list[Group]) -> tuple[list[Group], dict[str, str]]:
    """Tries the groups on copies: those whose removal does to the net what it should, and the rest."""
    floor = {group.name: lowest(group, group.allowed[0]) for group in groups}
    if not groups or _faithful(module, example, floor):
        return groups, {}
    sound = [g for g in groups if _faithful(module, example, {g.name: floor[g.name]})]
    if not _faithful(module, example, {g.name: floor[g.name] for g in sound}):
        raise CompressError("channels of this net cannot be removed: an operation mixes them across layers")
    why = "an operation after it mixes channels in a way that cannot be followed"
    return sound, {name: why for g in groups if g not in sound for name in g.tied}


def _faithful(module: nn.Module, example: Tensor, removed: Mapping[str, Sequence[int]]) -> bool:
    """Whether removing channels equals cutting every use of them, on random input."""
    x = torch.rand((2, *example.shape[1:]), generator=torch.Generator().manual_seed(0))
    cut, slim = copy.deepcopy(module).eval(), copy.deepcopy(module).eval()
    try:
        _cut_uses(cut, example, removed)
        remove_channels(slim, example, removed)
        with torch.no_grad():
            slim(x)  # norms too must fit their inputs; what they give then differs by right
            a, b = _unmixed(cut)(x), _unmixed(slim)(x)
    except Exception:  # whatever an index or a shape that does not fit raises, in whatever layer
        return False
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-3 * a.abs().max() + 1e-6)


def _unmixed(module: nn.Module) -> nn.Module:
    """``module``, its ``_MIXING`` layers from now on giving what they get."""
    for layer in module.modules():
        if isinstance(layer, _MIXING):
            layer.register_forward_hook(lambda _, args, out: args[0])
    return module


def _cut_uses(module: nn.Module, example: Tensor, removed: Mapping[str, Sequence[int]]) -> None:
    """Zero, in place, every weight that reads the output channels ``removed`` by layer name."""
    with dependency_graph(module, example) as graph:
        uses = [
            item
            for name, index in removed.items()
            for item in full_group(graph, module.get_submodule(name), index)
        ]
        for dep, index in uses:
            reads = graph.is_in_channel_pruning_fn(dep.handler)
            if reads and not graph.is_out_channel_pruning_fn(dep.handler):
                _cut_inputs(dep.target.module, index)


@torch.no_grad()
def _cut_inputs(layer: Any, index: Sequence[int]) -> None:
    """Zero the weights of a convolution or linear layer that read the input channels ``index``."""
    if getattr(layer, "transposed", False):  # its weight is in x out of one block
        layer.weight[list(index)] = 0
        return
    groups = getattr(layer, "groups", 1)
    inputs = layer.weight.shape[1]  # of one block
    blocks = layer.weight.unflatten(0, (groups, -1))
    for channel in index:
        blocks[channel // inputs, :, channel % inputs] = 0


def remove_channels(module: nn.Module, example: Tensor, removed: Mapping[str, Sequence[int]]) -> None:
    """Remove output channels by layer name, and all that goes with them, in place.

    Args:
        module: float; its layers stay plain layers with smaller ``out_channels``, ``num_features``, ...
        example: an input, to trace with.
        removed: indices of output channels by name, one layer for each group (see ``find_groups``).

    Raises:
        CompressError: a layer would lose all its channels.
    """
    with dependency_graph(module, example) as graph:
        for name, index in removed.items():
            group = full_group(graph, module.get_submodule(name), index)
            if not graph.check_pruning_group(group):
                raise CompressError(f"removing {len(index)} channels of {name} would leave a layer with none")
            group.prune(record_history=False)
    module.zero_grad(set_to_none=True)
