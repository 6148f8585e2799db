from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from compress.ops.fakequant import fake_quantized, quantise_input, quantise_weight
from compress.ops.ranges import BINS, Histogram, entropy_threshold, keep


@pytest.fixture(autouse=True, scope="module")
def eight_bits() -> Iterator[None]:
    """Whatever processor the tests run on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compress.ops.fakequant.weight_top", lambda: 127)
        yield


def slow_weight(weight: list[list[float]]) -> list[list[float]]:
    """Per-channel symmetric int8 by the book: one row, one scale, round half to even, -127 to 127."""
    rows = []
    for row in weight:
        scale = max(abs(v) for v in row) / 127
        rows.append([0.0 if scale == 0 else max(-127, min(127, round(v / scale))) * scale for v in row])
    return rows


def slow_input(values: list[float], low: float, high: float) -> list[float]:
    """Per-tensor asymmetric uint8 by the book; 0 is one of the 256 levels."""
    scale = (high - low) / 255
    zero = round(-low / scale)
    return [(max(0, min(255, round(v / scale) + zero)) - zero) * scale for v in values]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 1000))
def test_weight_is_the_slow_one(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-4, 3, (rows, 1))).astype(np.float32)
    want = np.array(slow_weight(weight.astype(float).tolist()))
    got = quantise_weight(torch.from_numpy(weight)).numpy()
    step = np.abs(weight).max(1, keepdims=True) / 127
    # A value that lies between two levels to float precision may go to either.
    tied = np.abs(np.abs(weight / step - np.floor(weight / step)) - 0.5) < 1e-3
    np.testing.assert_allclose(
        np.where(tied, weight, got), np.where(tied, weight, want), rtol=1e-5, atol=1e-9
    )
    assert np.abs(got - weight).max() <= (step / 2 * 1.001).max()
    exact = np.abs(weight) == np.abs(weight).max(1, keepdims=True)
    np.testing.assert_allclose(got[exact], weight[exact], rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.floats(-20, 0), st.floats(0.01, 20), st.integers(0, 1000))
def test_input_is_the_slow_one(low: float, high: float, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(low * 1.5 - 0.1, high * 1.5, 64).astype(np.float32)
    got = quantise_input(torch.from_numpy(x), torch.tensor(low), torch.tensor(high)).numpy()
    want = np.array(slow_input(x.astype(float).tolist(), low, high))
    scale = (high - low) / 255
    off = np.abs(got - want) > scale * 1e-3
    assert np.abs(got - want).max() <= scale * 1.001
    assert off.sum() <= 2
    assert quantise_input(torch.zeros(1), torch.tensor(low), torch.tensor(high)).item() == 0
    assert len(np.unique(got)) <= 256


def test_seven_bits_are_levels_from_minus_64_to_64() -> None:
    weight = torch.linspace(-2, 2, 1001)[None]
    got = quantise_weight(weight, 64)
    assert len(got.unique()) == 129
    torch.testing.assert_close(got, (weight * 32).round() / 32, rtol=0, atol=1e-6)


def test_zero_channels_and_zero_ranges_stay_zero() -> None:
    assert torch.equal(quantise_weight(torch.zeros(2, 3)), torch.zeros(2, 3))
    zero = torch.tensor(0.0)
    assert torch.equal(quantise_input(torch.zeros(4), zero, zero), torch.zeros(4))


def test_gradients_go_straight_through_inside_the_range() -> None:
    weight = torch.randn(3, 4, requires_grad=True)
    (quantise_weight(weight) * torch.arange(12.0).view(3, 4)).sum().backward()
    assert torch.equal(weight.grad, torch.arange(12.0).view(3, 4))
    x = torch.tensor([-3.0, -0.5, 0.0, 0.7, 3.0], requires_grad=True)
    quantise_input(x, torch.tensor(-1.0), torch.tensor(1.0)).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6())
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.nn.functional.hardswish(self.depth(self.stem(x))))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def calibration() -> torch.Tensor:
    return torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def assert_plain(net: nn.Module, keys: list[str]) -> None:
    assert list(net.state_dict()) == keys
    for m in net.modules():
        assert not m._forward_pre_hooks
        assert not m._forward_hooks
        assert type(m).__name__ != "ParametrizedConv2d"
    pickle.loads(pickle.dumps(net))
    copy.deepcopy(net)


def low(t: torch.Tensor) -> torch.Tensor:
    return t.min().clamp_max(0)


def high(t: torch.Tensor) -> torch.Tensor:
    return t.max().clamp_min(0)


def test_forward_is_the_quantised_one_written_out(net: Net, calibration: torch.Tensor) -> None:
    net.eval()
    x = calibration[:3]
    with torch.no_grad():
        floats = net(x)
        inputs = calibration
        mids = net.stem(calibration)
        f = nn.functional
        last = net.head[:2](f.hardswish(net.depth(mids)))
        y = f.conv2d(
            quantise_input(x, low(inputs), high(inputs)),
            quantise_weight(net.stem[0].weight),
            net.stem[0].bias,
            padding=1,
        )
        y = quantise_input(f.relu6(y), low(mids), high(mids))
        y = f.conv2d(y, quantise_weight(net.depth.weight), net.depth.bias, padding=1, groups=8)
        y = quantise_input(net.head[:2](f.hardswish(y)), low(last), high(last))
        want = f.linear(y, quantise_weight(net.head[2].weight), net.head[2].bias)
        with fake_quantized(net, calibration):
            got = net(x)
    torch.testing.assert_close(got, want)
    assert 0 < (got - floats).abs().max() < 0.1 * floats.abs().max()
    assert torch.equal(net(x), floats)


def test_training_inside_leaves_trained_plain_weights(net: Net, calibration: torch.Tensor) -> None:
    keys = list(net.state_dict())
    before = copy.deepcopy(net.state_dict())
    weights = [net.stem[0].weight, net.depth.weight, net.head[2].weight]
    net.train()
    with fake_quantized(net, calibration):
        assert any("input_fake_quant" in k for k in net.state_dict())
        optimiser = torch.optim.SGD(net.parameters(), 0.1)
        high = net.depth.input_fake_quant.high.clone()
        losses = []
        for _ in range(20):
            loss = nn.functional.cross_entropy(net(calibration), torch.arange(40) % 4)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert net.depth.input_fake_quant.high != high
        net.eval()
        high = net.depth.input_fake_quant.high.clone()
        net(calibration * 100)
        assert torch.equal(net.depth.input_fake_quant.high, high)  # ranges rest in eval
        copy.deepcopy(net)(calibration)  # an EMA copies the model inside
    assert losses[-1] < losses[0]
    assert_plain(net, keys)
    assert all(
        a is b
        for a, b in zip(weights, [net.stem[0].weight, net.depth.weight, net.head[2].weight], strict=True)
    )
    assert all(not torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_moving_average_of_ranges(net: Net, calibration: torch.Tensor) -> None:
    net.train()
    with fake_quantized(net, calibration):
        quant = net.stem[0].input_fake_quant
        start = quant.high.item()
        assert start == calibration.max().item()
        net(calibration * 3)
        assert quant.high.item() == pytest.approx(0.99 * start + 0.01 * 3 * start, rel=1e-6)


def test_a_resumed_training_has_the_same_ranges(net: Net, calibration: torch.Tensor) -> None:
    with fake_quantized(net, calibration):
        net(calibration * 5)
        state = copy.deepcopy(net.state_dict())
        want = net.eval()(calibration)
    torch.manual_seed(5)
    other = Net()
    with fake_quantized(other, calibration):
        other.load_state_dict(state)
        assert torch.equal(other.eval()(calibration), want)


def test_clean_exit_on_exceptions(net: Net, calibration: torch.Tensor) -> None:
    keys = list(net.state_dict())
    with pytest.raises(RuntimeError, match="inside"), fake_quantized(net, calibration):
        raise RuntimeError("inside")
    assert_plain(net, keys)
    with pytest.raises(RuntimeError), fake_quantized(net, torch.zeros(2, 5, 8, 8)):
        pass  # the calibration itself fails: five channels
    assert_plain(net, keys)
    assert net.training


def test_exclude_leaves_layers_in_float(net: Net, calibration: torch.Tensor) -> None:
    with fake_quantized(net, calibration, exclude=("stem", "head.2")):
        inside = {k for k in net.state_dict() if "fake_quant" in k}
        assert {k.split(".input_fake_quant")[0] for k in inside} == {"depth"}


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"method": "mse"}, "minmax, entropy, percentile"),
        ({"exclude": ("steam",)}, "'steam'"),
        ({"calibration": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, "uint8"),
    ],
)
def test_bad_arguments(net: Net, calibration: torch.Tensor, kwargs: dict, words: str) -> None:
    with (
        pytest.raises(ValueError, match=words),
        fake_quantized(net, **{"calibration": calibration, **kwargs}),
    ):
        pass


def test_not_twice(net: Net, calibration: torch.Tensor) -> None:
    with fake_quantized(net, calibration):
        with pytest.raises(ValueError, match="already"), fake_quantized(net, calibration):
            pass
        assert hasattr(net.depth, "input_fake_quant")  # the outer one still stands
    assert not hasattr(net.depth, "input_fake_quant")


def test_shared_layers(calibration: torch.Tensor) -> None:
    conv = nn.Conv2d(3, 3, 1)
    net = nn.Sequential(conv, nn.ReLU(), conv)
    keys = list(net.state_dict())
    with fake_quantized(net, calibration):
        net(calibration)
    assert_plain(net, keys)


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_weight_and_spectral_norm_stay(norm: Any, net: Net, calibration: torch.Tensor) -> None:
    norm(net.depth)
    keys, want = list(net.state_dict()), net.eval()(calibration)
    weight = net.depth.weight.detach()
    with fake_quantized(net, calibration):
        assert torch.equal(net.depth.weight, quantise_weight(weight))
        assert not torch.equal(net(calibration), want)
    assert list(net.state_dict()) == keys
    assert torch.equal(net(calibration), want)
    assert type(net.stem[0]) is nn.Conv2d


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_methods_cut_an_outlier_and_minmax_does_not(method: str) -> None:
    torch.manual_seed(0)
    values = torch.randn(100_000).clamp(-4, 4)
    values[0] = 60.0
    histogram = Histogram(values.min().item(), values.max().item())
    histogram.add(values)
    low, high = keep(histogram, method)
    assert -4 <= low < -1.5
    assert 1.5 < high < 8
    assert keep(histogram, "minmax") == (histogram.low, histogram.high)
    net = nn.Sequential(nn.Flatten(), nn.Linear(100, 2))
    with fake_quantized(net, values.view(1000, 100), method):
        quant = net[1].input_fake_quant
        assert (quant.high * quant.keep_high).item() == pytest.approx(high, rel=1e-6)
        assert (quant.low * quant.keep_low).item() == pytest.approx(low, rel=1e-6)


def test_percentile_by_hand() -> None:
    values = torch.cat([torch.linspace(0, 1, 1_000_000), torch.full((5,), 2.0)])
    histogram = Histogram(0.0, 2.0)
    histogram.add(values)
    low, high = keep(histogram, "percentile")  # 1e-5 of the values are cut: 5 twos and 5 more
    assert low == 0
    assert high == pytest.approx(1, abs=2 * 2.0 / BINS)


def slow_kl(counts: list[float], stop: int, levels: int) -> float:
    """Information lost by ``stop`` bins in ``levels`` levels, bin by bin (Migacz 2017)."""
    p = list(counts[:stop])
    p[-1] += sum(counts[stop:])
    q = [0.0] * stop
    for level in range(levels):
        bins = [i for i in range(stop) if i * levels // stop == level]
        filled = [i for i in bins if counts[i] > 0]
        for i in filled:
            q[i] = sum(counts[j] for j in bins) / len(filled)
    kl = 0.0
    for a, b in zip(p, q, strict=True):
        if a > 0:
            b = b / sum(q) or 1e-12
            kl += a / sum(p) * math.log(a / sum(p) / b)
    return kl


@pytest.mark.parametrize("seed", range(4))
def test_entropy_is_the_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.abs(np.concatenate([rng.normal(size=3000), rng.normal(size=5) * 5]))
    counts, _ = np.histogram(values, bins=160)
    stops = range(16, 161, 8)
    losses = [slow_kl(counts.tolist(), stop, 16) for stop in stops]
    best = list(stops)[int(np.argmin(losses))]
    assert entropy_threshold(counts, levels=16) == best / 160
