"""Layers written as products of smaller plain layers (so pruning, int8 and export still work).

Tucker-2 of a k x k conv: Kim et al., Compression of Deep Convolutional Neural Networks for Fast and
Low Power Mobile Applications, ICLR 2016. SVD of 1x1 convs and linears: Denil et al. 2013.
Each is exact at full rank and keeps stride, padding, dilation, bias, dtype and device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def tucker2(conv: nn.Conv2d, ranks: tuple[int, int]) -> nn.Sequential:
    """``conv`` as 1x1 (in to r_in), k x k (r_in to r_out), 1x1 (r_out to out).

    A rank equal to the conv's own channels compresses nothing on that side: its 1x1 is multiplied into
    the k x k and left out.

    Args:
        conv: ungrouped; left as it is.
        ranks: (r_in, r_out), each from 1 to the conv's own channels.

    Raises:
        ValueError: a grouped conv, or a rank out of range.
    """
    import tensorly as tl
    from tensorly.decomposition import partial_tucker

    _ungrouped(conv)
    _in_range(ranks[0], conv.in_channels, "input rank")
    _in_range(ranks[1], conv.out_channels, "output rank")
    weight = conv.weight.detach().cpu().double().numpy()
    with tl.backend_context("numpy", local_threadsafe=True):
        (core, (left, right)), _ = partial_tucker(
            weight, rank=[ranks[1], ranks[0]], modes=[0, 1], init="svd", tol=1e-6, random_state=0
        )
    narrows, widens = ranks[0] < conv.in_channels, ranks[1] < conv.out_channels
    if not narrows:
        core = np.einsum("oikl,ci->ockl", core, right)
    if not widens:
        core = np.einsum("oikl,co->cikl", core, left)
    middle = nn.Conv2d(
        core.shape[1],
        core.shape[0],
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None and not widens,
        padding_mode=conv.padding_mode,
    )
    _set(middle, core, conv.bias, conv.weight)
    layers = [_conv1x1(conv, right.T, bias=None)] if narrows else []
    layers += [middle, _conv1x1(conv, left, bias=conv.bias)] if widens else [middle]
    return nn.Sequential(*layers).train(conv.training)


def svd_conv1x1(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """A 1x1 conv as two: in to ``rank`` (with the stride and padding), ``rank`` to out (with the bias).

    Raises:
        ValueError: a grouped conv, a kernel other than 1x1, or a rank out of range.
    """
    _ungrouped(conv)
    if conv.kernel_size != (1, 1):
        raise ValueError(f"svd_conv1x1 needs a 1x1 kernel, got {conv.kernel_size}")
    left, right = _svd(conv.weight, rank)
    first = _conv1x1(conv, right, bias=None, moves=True)
    return nn.Sequential(first, _conv1x1(conv, left, bias=conv.bias)).train(conv.training)


def svd_linear(linear: nn.Linear, rank: int) -> nn.Sequential:
    """A linear as two: in to ``rank`` without bias, ``rank`` to out with the bias.

    Raises:
        ValueError: the rank is out of range.
    """
    left, right = _svd(linear.weight, rank)
    first = nn.Linear(linear.in_features, rank, bias=False)
    second = nn.Linear(rank, linear.out_features, bias=linear.bias is not None)
    _set(first, right, None, linear.weight)
    _set(second, left, linear.bias, linear.weight)
    return nn.Sequential(first, second).train(linear.training)


def _svd(weight: Tensor, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """out x rank and rank x in; each takes the root of the singular values, so that neither factor's
    gradients dwarf the other's in fine-tuning."""
    matrix = weight.detach().cpu().double().flatten(1).numpy()
    _in_range(rank, min(matrix.shape), "rank")
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(s[:rank])
    return u[:, :rank] * root, root[:, None] * v[:rank]


def _conv1x1(like: nn.Conv2d, matrix: np.ndarray, bias: Tensor | None, moves: bool = False) -> nn.Conv2d:
    """A 1x1 conv with ``matrix`` (out x in) as weight; ``moves``: with the stride and padding of ``like``."""
    out, cin = matrix.shape
    if moves:
        conv = nn.Conv2d(
            cin,
            out,
            1,
            like.stride,  # type: ignore[arg-type]
            like.padding,  # type: ignore[arg-type]
            bias=False,
            padding_mode=like.padding_mode,
        )
    else:
        conv = nn.Conv2d(cin, out, 1, bias=bias is not None)
    _set(conv, matrix[:, :, None, None], bias, like.weight)
    return conv


def _set(layer: nn.Conv2d | nn.Linear, weight: np.ndarray, bias: Tensor | None, like: Tensor) -> None:
    layer.to(device=like.device, dtype=like.dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        if bias is not None and layer.bias is not None:
            layer.bias.copy_(bias)


def _ungrouped(conv: nn.Conv2d) -> None:
    if conv.groups != 1:
        raise ValueError(f"a conv with groups={conv.groups} cannot be factorised, only groups=1")


def _in_range(rank: int, full: int, what: str) -> None:
    if not 1 <= rank <= full:
        raise ValueError(f"{what} must be from 1 to {full}, got {rank}")
