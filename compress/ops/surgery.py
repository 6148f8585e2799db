"""Submodules by dotted name: looked at, replaced, and what each layer does on an input."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerCall:
    """What one Conv2d or Linear does when the net runs on an example.

    Attributes:
        name: dotted name in the net.
        shape: of its input, batch first.
        calls: how often it runs.
        macs: multiply-accumulates of all its calls together, for the example's whole batch.
    """

    name: str
    shape: tuple[int, ...]
    calls: int
    macs: int


def replace(root: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``root`` has the submodule ``name``, under all the names it has."""
    old = root.get_submodule(name)
    for parent in list(root.modules()):
        for key, child in parent._modules.items():  # named_children() hides a second name
            if child is old:
                setattr(parent, key, new)


def layer_calls(module: nn.Module, example: Tensor) -> list[LayerCall]:
    """Every Conv2d and Linear (or subclass) that ``example`` reaches, in the order of first calls.

    Runs a copy in eval mode, so ``module`` is left as it is. A layer called on several shapes is
    given with its first.
    """
    probe = copy.deepcopy(module).eval()
    names = {id(layer): name for name, layer in probe.named_modules()}
    seen: dict[str, LayerCall] = {}

    def hook(layer: nn.Module, args: Any, out: Tensor) -> None:
        name = names[id(layer)]
        before = seen.get(name, LayerCall(name, tuple(args[0].shape), 0, 0))
        weight: Any = layer.weight
        # Every output value of a conv or linear costs one row of the weight.
        macs = out.numel() * weight[0].numel()
        seen[name] = LayerCall(name, before.shape, before.calls + 1, before.macs + macs)

    for layer in probe.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        probe(example)
    return list(seen.values())


def looked_at(module: nn.Module, example: Tensor, names: Iterable[str]) -> set[str]:
    """Those of the layers ``names`` that the net does more with than call them (it reads their weight, say),
    so that nothing can take their place. Runs copies in eval mode."""

    def runs(wrapped: list[str]) -> bool:
        probe = copy.deepcopy(module).eval()
        for name in wrapped:
            replace(probe, name, nn.Sequential(probe.get_submodule(name)))
        try:
            with torch.no_grad():
                probe(example)
        except Exception:  # of many kinds: whatever the net runs into without the attribute
            return False
        return True

    names = list(names)
    return set() if runs(names) else {name for name in names if not runs([name])}


def is_under(name: str, prefixes: Iterable[str]) -> bool:
    """Whether the module ``name`` is one of ``prefixes`` or lies inside one."""
    return any(name == p or name.startswith(p + ".") for p in prefixes)
