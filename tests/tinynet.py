"""A tiny real net, a real bench and a real Context for the tests of stages (importable, so nets pickle)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from compress.data.images import ImageSet
from compress.data.pictures import Pictures
from compress.latency_table.table import LatencyTable
from compress.net import Net, Preprocess
from compress.spec import digest
from compress.stages.base import Context, Ratio

# A model file: digits to logits
TINY_FILE = """\
input_channel: 3
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [1, Conv, [16, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, FixedConv, [10, 1, 1, null, 1, null]]
"""
DIGITS = Preprocess(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def conv_bn_relu(cin: int, cout: int, k: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU6())


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018), with the identity added where shapes allow."""

    def __init__(self, cin: int, cout: int, expand: int, stride: int) -> None:
        super().__init__()
        mid = cin * expand
        self.body = nn.Sequential(
            conv_bn_relu(cin, mid, 1),
            conv_bn_relu(mid, mid, 3, stride, groups=mid),
            nn.Conv2d(mid, cout, 1, bias=False),
            nn.BatchNorm2d(cout),
        )
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class TinyNet(nn.Module):
    """3 x 16 x 16 to logits: a dense 3x3 stage, two inverted residuals, a head with dropout.

    About 17 k parameters; it has what stages act on: dense 3x3, 1x1, depthwise, a residual, a Linear.
    """

    def __init__(self, classes: int = 10, width: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.stem = conv_bn_relu(3, 16)
        self.dense = conv_bn_relu(16, width, stride=2)
        self.block1 = InvertedResidual(width, width, 2, 1)
        self.block2 = InvertedResidual(width, width, 2, 2)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(width, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense(self.stem(x))
        y: Tensor = self.head(self.block2(self.block1(x)))
        return y


def tiny_net(classes: int = 10, width: int = 32, seed: int = 0) -> Net:
    """A freshly initialised TinyNet, always the same for a seed; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = TinyNet(classes, width).eval()
    return Net(module, DIGITS, tuple(str(i) for i in range(classes)))


def digits(start: int, stop: int) -> ImageSet:
    """Images ``start`` to ``stop`` of scikit-learn's digits as 16 x 16 RGB."""
    every, targets = _digits()
    grey = (every[start:stop] * (255 / 16)).round().astype(np.uint8)
    images = grey.repeat(2, axis=1).repeat(2, axis=2)[..., None].repeat(3, axis=3)
    names = tuple(f"digit-{i}" for i in range(start, stop))
    labels = tuple(str(i) for i in range(10))
    return ImageSet(np.ascontiguousarray(images), targets[start:stop].astype(np.int64), labels, names)


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Read once: it is a compressed text."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    return raw.images, raw.target


class TorchBench:
    """The Bench protocol on torch eager: CPU time (interleaved, paired) and scikit-learn's macro F1."""

    runtime = "torch"
    int8 = False

    def __init__(self, rounds: int = 15, table: LatencyTable | None = None) -> None:
        self.rounds = rounds
        self.table = table

    def ratio(self, candidate: Net, reference: Net) -> Ratio:
        runs = [
            _runner(candidate.module, candidate.example()),
            _runner(reference.module, reference.example()),
        ]
        return self._ratio(*runs)

    def ratio_modules(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> Ratio:
        return self._ratio(_runner(candidate, example), _runner(reference, example))

    def predict_ms(self, net: Net) -> float | None:
        return self.table.predict(net).ms if self.table else None

    def predict_ratio(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> float | None:
        if self.table is None:
            return None
        return self.table.module_ms(candidate, example) / self.table.module_ms(reference, example)

    def f1(self, net: Net, data: ImageSet) -> float:
        x = net.preprocess.normalise(torch.from_numpy(data.images).permute(0, 3, 1, 2))
        predicted = _runner(net.module, x)().argmax(1).numpy()
        return float(f1_score(data.targets, predicted, average="macro"))

    def _ratio(self, candidate: Callable[[], Tensor], reference: Callable[[], Tensor]) -> Ratio:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # and CPU time: other processes must not decide a test
        try:
            for run in (candidate, reference):
                run()
            pairs = np.array([_seconds(candidate) / _seconds(reference) for _ in range(self.rounds)])
        finally:
            torch.set_num_threads(threads)
        draws = np.random.default_rng(0).choice(pairs, (500, len(pairs)))
        low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
        return Ratio(float(np.median(pairs)), float(low), float(high))


def make_context(work: Path, baseline: Net, *, seed: int = 0, epochs: int = 3) -> Context:
    """200 digits to train, 60 to tune, 64 to calibrate; ``remember`` keeps nets for the test's life."""
    from compress.train import TrainSpec

    nets: dict[str, Net] = {}

    def remember(key: Any, make: Callable[[Path], Net]) -> Net:
        name = digest(key)
        if name not in nets:
            folder = work / f"remember-{name}"
            folder.mkdir(parents=True, exist_ok=True)
            nets[name] = make(folder)
        return nets[name]

    train = digits(0, 200)
    return Context(
        train=train,
        tune=digits(200, 260),
        calib=digits(0, 64),
        baseline=baseline,
        train_spec=TrainSpec(epochs=epochs, batch_size=32, augment={"kind": "none"}, device="cpu"),
        seed=seed,
        bench=TorchBench(),
        work=work,
        remember=remember,
        log=lambda line: None,
        resized=Pictures().at,
    )


def _runner(module: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    import copy

    module = copy.deepcopy(module).eval()  # the nets given stay as they are

    def run() -> Tensor:
        with torch.no_grad():
            y: Tensor = module(x)
        return y

    return run


def _seconds(run: Callable[[], object]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def state(net: Net) -> dict[str, Tensor]:
    """A copy of every weight and buffer."""
    return {k: v.clone() for k, v in net.module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two such are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
