import pytest
import torch
import torchvision
from torch import nn

from compress.measure import counters


@pytest.mark.parametrize(
    ("name", "params", "macs", "layers", "activations"),
    [
        ("mobilenet_v3_small", 2_542_856, 56.5e6, 54, 1.42e6),
        ("mobilenet_v2", 3_504_872, 300.8e6, 53, 6.68e6),
        ("resnet18", 11_689_512, 1814e6, 21, 2.48e6),
        ("resnet50", 25_557_032, 4089e6, 54, 11.1e6),  # as the RegNet paper has it
    ],
)
def test_known_nets(name, params, macs, layers, activations):
    net = torchvision.models.get_model(name, weights=None)
    got = counters.count(net, torch.zeros(3, 3, 224, 224))
    assert got.params == params
    assert got.macs == pytest.approx(macs, rel=2e-3)
    assert got.layers == layers
    assert got.activations == pytest.approx(activations, rel=2e-2)
    assert got.memory_bytes == 4 * got.memory
    assert net.training


def test_peak_memory_of_mobilenet_v2_is_at_its_second_block():
    net = torchvision.models.mobilenet_v2(weights=None)
    got = counters.count(net, torch.zeros(1, 3, 224, 224))
    assert got.peak_bytes == 4 * (96 * 112 * 112 + 96 * 56 * 56)


def test_by_hand():
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5, bias=False)
    )
    got = counters.count(net, torch.zeros(2, 4, 6, 6))
    conv, linear = 4 * 36 + 8 * 16 + 8 * 2 * 9 + 8, 128 + 5 + 640
    assert got == counters.Counts(
        params=8 * 2 * 9 + 8 + 640,
        macs=16 * 8 * 2 * 9 + 640,
        layers=2,
        memory=conv + linear,
        memory_bytes=4 * (conv + linear),
        activations=8 * 16,
        peak_bytes=4 * (4 * 36 + 8 * 16),
    )


def test_shared_weights_count_once_and_their_work_twice():
    layer = nn.Linear(6, 6, bias=False)
    got = counters.count(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 6))
    assert (got.params, got.macs, got.layers) == (36, 72, 1)
    assert got.memory == 2 * (6 + 6 + 36)
