"""Batch normalisation folded into the layer before it."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights, parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from compress.errors import CompressError
from compress.ops.surgery import replace

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


class _Readers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how many operators read each tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = {id(leaf) for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)}
        self.count.update(leaves)
        return func(*args, **(kwargs or {}))


def conv_bn_pairs(module: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Names of (conv or linear, norm) where the norm alone reads the layer's output.

    Found by running ``example`` once in eval mode and following the tensors themselves, so control
    flow and functional calls in ``forward`` are no obstacle. A layer or norm that is called more than
    once, whose output something else reads or the net returns, or whose norm keeps no running
    statistics is left out. ``module`` is left as it is.
    """
    probe = copy.deepcopy(module).eval()
    names = {id(layer): name for name, layer in probe.named_modules()}
    made: dict[int, nn.Module] = {}  # id of a tensor -> the layer that made it
    read: list[tuple[nn.Module, Tensor]] = []
    alive: list[Tensor] = []  # or a freed tensor's id would come back as another's
    calls: Counter[int] = Counter()
    readers = _Readers()

    def layer_hook(layer: nn.Module, args: Any, out: Tensor) -> None:
        calls[id(layer)] += 1
        made[id(out)] = layer
        alive.append(out)
        readers.count[id(out)] = 0  # forget a freed tensor that had this id

    def norm_hook(norm: nn.Module, args: Any) -> None:
        calls[id(norm)] += 1
        read.append((norm, args[0]))

    for layer in probe.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(layer_hook)
        elif type(layer) in _NORMS:
            layer.register_forward_pre_hook(norm_hook)
    with torch.no_grad(), readers:
        returned = {id(leaf) for leaf in tree_leaves(probe(example))}

    pairs = []
    for norm, tensor in read:
        maker = made.get(id(tensor))
        if maker is None or id(tensor) in returned or readers.count[id(tensor)] != 1:
            continue
        if calls[id(maker)] != 1 or calls[id(norm)] != 1 or not _foldable(maker, norm, tensor):
            continue
        pairs.append((names[id(maker)], names[id(norm)]))
    return pairs


def fold_batchnorm(module: nn.Module, example: Tensor) -> nn.Module:
    """A copy of ``module`` in eval mode with every batch norm that can be folded gone.

    Each Conv2d or Linear whose output only a batch norm reads takes over its scale and shift, and an
    ``nn.Identity`` stands in the norm's place: classes, names and ``forward`` stay as they were. A weight
    is trained on if the layer's was, a bias if the layer's or the norm's was (without either, as the weight).

    Args:
        module: takes ``example``; left as it is.
        example: an input of ``module``, normalised, any batch.

    Raises:
        CompressError: the folded net does not compute what ``module`` does in eval mode.
    """
    pairs = conv_bn_pairs(module, example)
    folded = copy.deepcopy(module).eval()
    for layer_name, norm_name in pairs:
        layer, norm = folded.get_submodule(layer_name), folded.get_submodule(norm_name)
        weight, bias = _fused(layer, norm)
        # New Parameters in the same layer: a weight tied to another layer's stays with the other.
        layer.weight, layer.bias = weight, bias
        replace(folded, norm_name, nn.Identity())
    _check(module, folded, example)
    return folded


def folded(module: nn.Module, example: Tensor) -> nn.Module:
    """``fold_batchnorm``, or just a copy in eval mode where that is refused: right as well, only slower."""
    try:
        return fold_batchnorm(module, example[:1])
    except CompressError:
        return copy.deepcopy(module).eval()


def _fused(layer: Any, norm: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """The layer's weight and bias with the norm in them."""
    statistics = norm.running_mean, norm.running_var, norm.eps
    # Of a Linear, too: what torch has for those takes no norm without a weight of its own.
    weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics, norm.weight, norm.bias)
    # torch freezes the bias of a layer that had none; what the norm's shift learned, it goes on learning.
    shifts = [p for p in (layer.bias, norm.bias) if p is not None] or [layer.weight]
    bias.requires_grad_(any(p.requires_grad for p in shifts))
    return weight, bias


def _foldable(layer: nn.Module, norm: nn.Module, made: Tensor) -> bool:
    if getattr(norm, "running_var", None) is None or parametrize.is_parametrized(layer):
        return False
    if isinstance(layer, nn.Linear):  # on N x L x C a BatchNorm1d normalises L, not the features
        return made.ndim == 2
    return made.ndim == 4


def _check(module: nn.Module, folded: nn.Module, example: Tensor) -> None:
    """A layer class of somebody's own may treat its weight in a way folding breaks: look."""
    noise = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)
    with torch.no_grad():
        want = tree_leaves(copy.deepcopy(module).eval()(noise))
        got = tree_leaves(folded(noise))
    for a, b in zip(want, got, strict=True):
        if not isinstance(a, Tensor):
            continue
        error = float((a - b).abs().max())
        if not error <= 1e-3 * float(a.abs().max()) + 1e-6:
            raise CompressError(
                f"folding batch norms changed the net's output by {error:.3g} (its largest value is "
                f"{float(a.abs().max()):.3g}); a layer of its own class uses its weight in an unusual way"
            )
