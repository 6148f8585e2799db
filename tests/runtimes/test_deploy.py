import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import CompressError
from compress.net import Net, Preprocess
from compress.runtimes.deploy import AGREEMENT, TOLERANCE, Parity, compare, eager_logits, export_net, parity
from compress.runtimes.onnxruntime_runtime import OnnxRuntime


@pytest.fixture(scope="module")
def exported(relu6_net, tmp_path_factory):
    return export_net(relu6_net, OnnxRuntime(), tmp_path_factory.mktemp("deploy") / "a")


def test_eager_logits_do_not_depend_on_the_batch_or_touch_the_net(relu6_net, pictures):
    net = relu6_net.copy()
    net.module.train()
    net.module[0].eval()
    before = {k: v.clone() for k, v in net.module.state_dict().items()}
    modes = [m.training for m in net.module.modules()]
    whole = eager_logits(net, np.concatenate([pictures, pictures]))
    assert np.allclose(whole[:24], whole[24:], atol=1e-5)
    assert np.allclose(eager_logits(net, pictures[3:4]), whole[3:4], atol=1e-5)
    assert [m.training for m in net.module.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in net.module.state_dict().items())


def test_a_net_that_is_not_what_was_exported_is_caught(relu6_net, exported, pictures):
    other = relu6_net.copy()
    with torch.no_grad():
        other.module[-1].weight.mul_(1.01)
    with pytest.raises(CompressError, match=r"onnxruntime export disagrees with its net: same label as"):
        parity(other, OnnxRuntime(), exported, pictures)


def test_other_preprocessing_is_caught(relu6_net, exported, pictures):
    other = relu6_net.copy()
    other.preprocess = type(other.preprocess)(32)
    with pytest.raises(CompressError, match="disagrees"):
        parity(other, OnnxRuntime(), exported, pictures)


def test_another_number_of_classes_is_caught(relu6_net, exported, pictures):
    other = relu6_net.copy()
    other.module[-1] = nn.Linear(24, 5)
    found = compare(OnnxRuntime(), exported, eager_logits(other, pictures), pictures)
    assert not found.ok


def test_what_counts_as_agreement():
    base = {"agreement": 1.0, "max_difference": 0.0, "allowed": TOLERANCE, "n": 100, "int8": False}
    assert Parity(**base).ok
    assert not Parity(**{**base, "agreement": AGREEMENT - 0.01}).ok
    assert not Parity(**{**base, "max_difference": 2 * TOLERANCE}).ok
    assert "(required: 99%, 0.001)" in Parity(**{**base, "max_difference": 2 * TOLERANCE}).line
    rounded = {**base, "int8": True, "agreement": 0.5, "max_difference": 3.0}
    assert Parity(**rounded).ok
    assert not Parity(**{**rounded, "max_difference": float("nan")}).ok


class Standardised(nn.Conv2d):
    """Normalises its own weight (Qiao et al. 2019): what it computes of weights alone is named as the
    operation, ``mean``, and becomes a tensor of the file like any other."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


def test_a_net_whose_own_tensors_are_called_as_those_of_the_normalisation_is_exported(tmp_path, pictures):
    torch.manual_seed(0)
    module = nn.Sequential(
        Standardised(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    net = Net(module.eval(), Preprocess(32), ("a", "b", "c"))
    artifact = export_net(net, OnnxRuntime(), tmp_path / "a")
    got = OnnxRuntime().load(artifact, batch=None)(pictures)
    assert np.allclose(got, eager_logits(net, pictures), atol=1e-4)
