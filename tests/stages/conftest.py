"""Fixtures for the tests of stages: a real Context on digits, a tiny net, a net that has learned."""

from __future__ import annotations

from pathlib import Path

import pytest
from tinynet import digits, make_context, tiny_net

from compress.net import Net
from compress.stages.base import Context


@pytest.fixture
def small_net() -> Net:
    """An untrained TinyNet on 16 x 16 digits, a fresh one per test."""
    return tiny_net()


@pytest.fixture(scope="session")
def _learned() -> Net:
    from compress.train import TrainSpec, fit

    net = tiny_net()
    spec = TrainSpec(epochs=12, batch_size=32, augment={"kind": "none"}, device="cpu")
    fit(net.module, digits(0, 200), spec, preprocess=net.preprocess, log=lambda line: None)
    return net


@pytest.fixture
def learned_net(_learned: Net) -> Net:
    """The TinyNet trained on the 200 train digits (macro F1 on tune about 0.95), a copy per test."""
    return _learned.copy()


@pytest.fixture
def ctx(tmp_path: Path, small_net: Net) -> Context:
    """A Context whose baseline is an untrained ``small_net``; see ``learned_ctx`` for a trained one."""
    return make_context(tmp_path, small_net.copy())


@pytest.fixture
def learned_ctx(tmp_path: Path, learned_net: Net) -> Context:
    """A Context whose baseline has learned."""
    return make_context(tmp_path, learned_net.copy())
