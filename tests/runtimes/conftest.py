"""Small real nets with everything the runtimes must get right, and each exported once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.net import Net, Preprocess, Quant
from compress.runtimes.deploy import export_net
from compress.runtimes.kinds import BY_KIND

SIZE = 32
LABELS = ("glass", "metal", "paper", "plastic")


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 8, 1), nn.ReLU(), nn.Conv2d(8, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x):
        return x * self.layers(self.pool(x))


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def conv(cin, cout, k=1, stride=1, groups=1, act=None):
    layers = [nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([act()] if act else []))


def mobilenet(act, squeeze):
    """Stem, one inverted residual with a skip, one with a stride, head: MobileNet's parts."""
    torch.manual_seed(0)
    se = [SqueezeExcite(32)] if squeeze else []
    return nn.Sequential(
        conv(3, 16, 3, 2, act=act),
        Residual(conv(16, 32, act=act), conv(32, 32, 3, groups=32, act=act), *se, conv(32, 16)),
        conv(16, 32, act=act),
        conv(32, 32, 3, 2, groups=32, act=act),
        conv(32, 24),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(24, len(LABELS)),
    )


@pytest.fixture(scope="session")
def pictures():
    """uint8 24 x 32 x 32 x 3: smooth shapes in colours that differ by class, so labels differ."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    out = []
    for i in range(24):
        colour = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [220, 220, 90]])[i % 4]
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * ((1 + i % 3) * x + (i % 5) * y + rng.random()))
        out.append(wave[:, :, None] * colour + rng.normal(0, 12, (SIZE, SIZE, 3)))
    return np.clip(np.stack(out), 0, 255).astype(np.uint8)


def make_net(kind, pictures):
    """A net whose batch norms hold real statistics and whose logits spread over the classes."""
    module = mobilenet(nn.Hardswish, True) if kind == "hardswish" else mobilenet(nn.ReLU6, False)
    net = Net(module, Preprocess(SIZE, (0.5, 0.4, 0.6), (0.2, 0.25, 0.3)), LABELS)
    batch = net.preprocess.normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    module.train()
    with torch.no_grad():
        for _ in range(60):
            module(batch)
        module.eval()
        head = module[-1]
        logits = module(batch)
        scale = 3 / logits.std(0)  # else one class wins every time
        head.bias.sub_(logits.mean(0)).mul_(scale)
        head.weight.mul_(scale[:, None])
    return net


@pytest.fixture(scope="session", params=["hardswish", "relu6"])
def net(request, pictures):
    return make_net(request.param, pictures)


@pytest.fixture(scope="session")
def relu6_net(pictures):
    return make_net("relu6", pictures)


@pytest.fixture(scope="session", params=BY_KIND)
def runtime(request):
    made = BY_KIND[request.param]()
    if line := made.missing(export=True):
        pytest.skip(line)
    return made


@pytest.fixture(scope="session")
def artifact(net, runtime, tmp_path_factory):
    return export_net(net, runtime, tmp_path_factory.mktemp("float") / runtime.kind)


@pytest.fixture(scope="session")
def relu6_artifact(relu6_net, runtime, tmp_path_factory):
    return export_net(relu6_net, runtime, tmp_path_factory.mktemp("relu6") / runtime.kind)


@pytest.fixture(scope="session")
def quant(pictures):
    return Quant(pictures)
