"""Random nets of each space, as they would ship: exported, loaded again, and compared with PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from spaces import FILES, load

from compress.data.digits import DigitsData
from compress.models import arch
from compress.net import Net, Preprocess
from compress.ops.batchnorm import reestimate
from compress.runtimes.deploy import compare, eager_logits, export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from search.sample import suggest

SIDE = 32  # of real images, for the time; means over maps above 64 x 64 would be exported otherwise


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return DigitsData(image_size=SIDE).load(0).test.images[:8]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", FILES)
def test_exports_agree(name: str, seed: int, digits: np.ndarray, tmp_path: Path) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    candidate = suggest(load(name), study.ask(), classes=10)
    torch.manual_seed(seed)
    module, preprocess = arch.build(candidate.model), Preprocess(SIDE)
    reestimate(module, [preprocess.normalise(torch.from_numpy(digits).permute(0, 3, 1, 2))])
    net = Net(module.eval(), preprocess, tuple("0123456789"))
    reference = eager_logits(net, digits)
    assert reference.shape == (8, 10)
    assert np.ptp(reference, axis=0).max() > 1e-3  # it tells images apart, so that agreeing means something
    artifact = export_net(net, OnnxRuntime(), tmp_path / "net")
    found = compare(OnnxRuntime(), artifact, reference, digits)
    assert found.ok, found.line
