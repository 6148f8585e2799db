from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.ops.lowrank import svd_conv1x1, svd_linear, tucker2
from compress.ops.ranks import matrix_rank, rank_for_energy, round_rank, svd_macs, tucker_macs, tucker_ranks
from compress.ops.surgery import layer_calls

channels = st.integers(1, 9)
kernel = st.tuples(st.integers(1, 4), st.integers(1, 4))
few = settings(max_examples=25, deadline=None)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.shape == b.shape
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Trying to compute SVD")  # tensorly on ranks above the unfolding's
@few
@given(
    channels,
    channels,
    kernel,
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)) | st.just("valid"),
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from(["zeros", "reflect", "circular", "replicate"]),
)
def test_tucker_is_exact_at_full_rank(cin, cout, k, stride, padding, dilation, bias, mode) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(cin, cout, k, stride, padding, dilation, bias=bias, padding_mode=mode)
    x = torch.randn(2, cin, 9, 10)
    factors = tucker2(conv, (cin, cout))
    with torch.no_grad():
        close(factors(x), conv(x))


@few
@given(channels, channels, st.integers(1, 3), st.integers(0, 1), st.booleans())
def test_svd_conv_is_exact_at_full_rank(cin, cout, stride, padding, bias) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(cin, cout, 1, stride, padding, bias=bias)
    x = torch.randn(2, cin, 6, 7)
    with torch.no_grad():
        close(svd_conv1x1(conv, min(cin, cout))(x), conv(x))


@few
@given(channels, channels, st.booleans())
def test_svd_linear_is_exact_at_full_rank(cin, cout, bias) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(cin, cout, bias=bias)
    x = torch.randn(3, 2, cin)
    with torch.no_grad():
        close(svd_linear(linear, min(cin, cout))(x), linear(x))


@pytest.mark.parametrize("rank", [1, 5, 11, 16])
def test_svd_error_is_eckart_young(rank: int) -> None:
    """No rank-r matrix is closer than the truncated SVD, whose error is the root of the tail's squares."""
    torch.manual_seed(0)
    linear, conv = nn.Linear(24, 16).double(), nn.Conv2d(24, 16, 1).double()
    for layer, factors in ((linear, svd_linear(linear, rank)), (conv, svd_conv1x1(conv, rank))):
        weight = layer.weight.detach().flatten(1)
        product = (factors[1].weight.flatten(1) @ factors[0].weight.flatten(1)).detach()
        tail = np.linalg.svd(weight.numpy(), compute_uv=False)[rank:]
        assert float((weight - product).norm()) == pytest.approx(np.sqrt((tail**2).sum()), abs=1e-9)


def tucker_error(conv: nn.Conv2d, ranks: tuple[int, int]) -> float:
    weight = torch.eye(conv.in_channels).double()[:, :, None, None]
    for factor in tucker2(conv, ranks):  # a 1x1 before or behind multiplies channels alone
        taps = weight if weight.shape[-1] > 1 else weight[:, :, 0, 0]
        if factor.kernel_size == (1, 1):
            weight = torch.einsum("oj,jc...->oc...", factor.weight[:, :, 0, 0], taps)
        else:
            weight = torch.einsum("ojkl,jc->ockl", factor.weight, taps)
        weight = weight if weight.ndim == 4 else weight[:, :, None, None]
    return float((weight - conv.weight).norm().detach())


def test_tucker_error_falls_with_rank_and_is_within_the_hosvd_bounds() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(12, 10, 3).double()
    weight = conv.weight.detach().numpy()
    by_out = np.linalg.svd(weight.reshape(10, -1), compute_uv=False)
    by_in = np.linalg.svd(weight.transpose(1, 0, 2, 3).reshape(12, -1), compute_uv=False)
    errors = []
    for rin, rout in [(2, 2), (4, 4), (4, 10), (8, 10), (12, 10)]:
        error = tucker_error(conv, (rin, rout))
        tails = (by_in[rin:] ** 2).sum(), (by_out[rout:] ** 2).sum()
        assert max(tails) - 1e-9 <= error**2 <= sum(tails) + 1e-9
        errors.append(error)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9 < errors[-2]


def test_a_conv_that_is_low_rank_is_found_exactly() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 24, 3, padding=1).double()
    core = torch.randn(3, 5, 3, 3).double()
    with torch.no_grad():
        conv.weight.copy_(
            torch.einsum("oj,jikl,ci->ockl", torch.randn(24, 3).double(), core, torch.randn(16, 5).double())
        )
    assert tucker_ranks(conv.weight, 1 - 1e-12, 1) == (5, 3)
    assert tucker_error(conv, (5, 3)) < 1e-8
    assert tucker_error(conv, (4, 3)) > 0.1


@pytest.mark.parametrize(
    ("ranks", "kernels"), [((12, 4), [3, 1]), ((5, 10), [1, 3]), ((12, 10), [3]), ((5, 4), [1, 3, 1])]
)
def test_a_side_at_full_rank_gets_no_1x1(ranks: tuple[int, int], kernels: list[int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(12, 10, 3, stride=2, padding=1).double()
    factors = tucker2(conv, ranks)
    assert [f.kernel_size[0] for f in factors] == kernels
    assert [f.bias is not None for f in factors] == [False] * (len(kernels) - 1) + [True]
    x, weight = torch.randn(2, 12, 8, 8).double(), conv.weight.detach()
    with torch.no_grad():
        difference = (factors(x) - conv(x)).norm() / conv(x).norm()
    lost = tucker_error(conv, ranks) / float(weight.norm())
    assert (difference < 1e-9) == (lost < 1e-9) == (ranks == (12, 10))
    assert difference < 2 * lost + 1e-9


def test_factors_are_plain_layers_that_train_copy_and_pickle() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 12, 3, stride=2, padding="valid", bias=True).eval()
    before = conv.weight.detach().clone()
    factors = tucker2(conv, (4, 6))
    assert [type(m) for m in factors] == [nn.Conv2d] * 3
    assert not factors.training
    assert [(m.in_channels, m.out_channels) for m in factors] == [(8, 4), (4, 6), (6, 12)]
    assert [m.bias is not None for m in factors] == [False, False, True]
    factors(torch.randn(1, 8, 9, 9)).sum().backward()
    assert all(p.grad is not None and p.requires_grad for p in factors.parameters())
    assert conv.weight.grad is None
    assert torch.equal(conv.weight, before)
    x = torch.randn(1, 8, 9, 9)
    for other in (copy.deepcopy(factors), pickle.loads(pickle.dumps(factors))):
        assert torch.equal(other(x), factors(x))
    again = tucker2(conv, (4, 6))
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(factors, again, strict=True))


def test_bad_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="groups=4"):
        tucker2(nn.Conv2d(4, 8, 3, groups=4), (2, 2))
    with pytest.raises(ValueError, match="input rank must be from 1 to 4, got 5"):
        tucker2(nn.Conv2d(4, 8, 3), (5, 2))
    with pytest.raises(ValueError, match="1x1 kernel"):
        svd_conv1x1(nn.Conv2d(4, 8, 3), 2)
    with pytest.raises(ValueError, match="from 1 to 4, got 0"):
        svd_linear(nn.Linear(4, 8), 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(0.01, 1))
def test_rank_for_energy_is_the_smallest_that_holds_it(values: list[float], energy: float) -> None:
    rank = rank_for_energy(np.array(values), energy)
    squares = np.sort(np.array(values))[::-1] ** 2
    assert 1 <= rank <= len(values)
    assert squares[:rank].sum() >= energy * squares.sum() * (1 - 1e-9)
    if rank > 1:
        assert squares[: rank - 1].sum() < energy * squares.sum() * (1 + 1e-9)


def test_rank_for_energy_by_hand() -> None:
    assert rank_for_energy(np.array([1.0, 3.0, 2.0]), 0.64) == 1  # 9 of 14
    assert rank_for_energy(np.array([1.0, 3.0, 2.0]), 0.65) == 2
    assert rank_for_energy(np.array([1.0, 3.0, 2.0]), 1.0) == 3
    assert rank_for_energy(np.array([5.0, 0.0, 0.0]), 1.0) == 1
    assert rank_for_energy(np.zeros(4), 0.9) == 1
    with pytest.raises(ValueError, match="energy"):
        rank_for_energy(np.ones(3), 0.0)


def test_ranks_are_rounded_up_and_capped() -> None:
    assert [round_rank(r, 8, 60) for r in (1, 8, 9, 57)] == [8, 8, 16, 60]
    assert matrix_rank(torch.eye(30), 0.5, 8) == 16
    assert tucker_ranks(torch.randn(10, 3, 3, 3), 1.0, 8) == (3, 10)
    assert tucker_ranks(torch.randn(64, 3, 3, 3), 1.0, 16) == (
        3,
        27,
    )  # 27 is all that three channels can fill


@few
@given(
    st.integers(2, 12),
    st.integers(2, 12),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from([0, 1, "same"]),
    st.integers(1, 2),
)
def test_macs_ratio_is_that_of_the_layers_run(cin, cout, k, stride, padding, rank) -> None:
    stride = 1 if padding == "same" else stride
    conv = nn.Conv2d(cin, cout, k, stride, padding)
    x = torch.zeros(1, cin, 8, 6)

    def macs(module: nn.Module) -> int:
        return sum(call.macs for call in layer_calls(module, x))

    assert tucker_macs(conv, (rank, rank), (8, 6)) == pytest.approx(
        macs(tucker2(conv, (rank, rank))) / macs(conv)
    )
    if k == 1 and padding == 0 and stride == 1:
        assert svd_macs(conv, rank) == pytest.approx(macs(svd_conv1x1(conv, rank)) / macs(conv))
