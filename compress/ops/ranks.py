"""How many components of a layer's weight to keep."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def rank_for_energy(values: np.ndarray, energy: float) -> int:
    """The smallest rank whose singular values hold ``energy`` of the sum of squares (at least 1).

    Args:
        values: singular values, any order.
        energy: in (0, 1].
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy must be in (0, 1], got {energy}")
    squares = np.sort(np.asarray(values, dtype=np.float64))[::-1] ** 2
    # From the tail: 1 - tail / total keeps full accuracy where the head's sum rounds to the total.
    tail = np.append(np.cumsum(squares[::-1])[::-1], 0.0)  # tail[r] is what rank r leaves out
    return max(1, int(np.argmax(tail <= (1 - energy) * tail[0])))


def round_rank(rank: int, multiple: int, full: int) -> int:
    """``rank`` rounded up to a multiple, which runtimes compute as fast, but not above ``full``."""
    return min(-(-rank // multiple) * multiple, full)


def matrix_rank(weight: Tensor, energy: float, multiple: int) -> int:
    """The rank for the SVD of a Linear's or 1x1 conv's weight (out x in [x 1 x 1])."""
    matrix = _numpy(weight).reshape(weight.shape[0], -1)
    values = np.linalg.svd(matrix, compute_uv=False)
    return round_rank(rank_for_energy(values, energy), multiple, min(matrix.shape))


def tucker_ranks(weight: Tensor, energy: float, multiple: int) -> tuple[int, int]:
    """(input rank, output rank) of a k x k conv's weight (out x in x k x k) for Tucker-2.

    Each mode keeps ``energy`` of its unfolding (higher-order SVD, De Lathauwer et al. 2000), so the
    two truncations together leave out at most ``2 * (1 - energy)`` of the squared norm.
    """
    tensor = _numpy(weight)
    out, cin = tensor.shape[:2]
    by_out = tensor.reshape(out, -1)
    by_in = tensor.transpose(1, 0, 2, 3).reshape(cin, -1)
    rin, rout = (rank_for_energy(np.linalg.svd(m, compute_uv=False), energy) for m in (by_in, by_out))
    rin, rout = round_rank(rin, multiple, cin), round_rank(rout, multiple, out)
    taps = tensor[0, 0].size  # one mode cannot have more than the other's rank times the kernel's taps
    return min(rin, rout * taps), min(rout, rin * taps)


def svd_macs(layer: nn.Conv2d | nn.Linear, rank: int) -> float:
    """MACs of the two factors divided by those of ``layer`` (a Linear or 1x1 conv)."""
    out, cin = layer.weight.shape[:2]
    return rank * (cin + out) / (cin * out)


def tucker_macs(conv: nn.Conv2d, ranks: tuple[int, int], size: tuple[int, int]) -> float:
    """MACs of ``tucker2(conv, ranks)`` over those of ``conv`` on an input of ``size`` (H, W), pixels."""
    with torch.no_grad():  # the output's size for any padding and dilation, on the meta device: free
        shape = nn.functional.conv2d(
            torch.empty(1, 1, *size, device="meta"),
            torch.empty(1, 1, *conv.kernel_size, device="meta"),
            None,
            conv.stride,
            conv.padding,
            conv.dilation,
        ).shape
    before, after = size[0] * size[1], shape[2] * shape[3]
    out, cin, kh, kw = conv.weight.shape
    rin, rout = ranks
    factored = rin * rout * kh * kw * after
    factored += cin * rin * before if rin < cin else 0  # at full rank there is no 1x1
    factored += rout * out * after if rout < out else 0
    return factored / (cin * out * kh * kw * after)


def _numpy(weight: Tensor) -> np.ndarray:
    array: np.ndarray = weight.detach().cpu().double().numpy()
    return array
