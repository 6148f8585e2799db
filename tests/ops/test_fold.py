from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.errors import CompressError
from compress.ops.fold import conv_bn_pairs, fold_batchnorm, folded

EXAMPLE = torch.zeros(1, 3, 16, 16)


def norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in module.modules())


def shake(module: nn.Module) -> nn.Module:
    """Statistics and affine of a net that has been trained, so that folding has something to do."""
    torch.manual_seed(1)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.running_mean is not None:
            nn.init.normal_(m.running_mean, std=0.3)
            nn.init.uniform_(m.running_var, 0.3, 3)
            if m.affine:
                nn.init.uniform_(m.weight, -1.5, 1.5)
                nn.init.normal_(m.bias, std=0.3)
    return module.eval()


def assert_equal_outputs(a: nn.Module, b: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        want, got = a.eval()(x), b(x)
    assert (want - got).abs().max() <= 2e-5 * want.abs().max() + 1e-7


@pytest.mark.parametrize(
    ("name", "left"), [("mobilenet_v2", 0), ("mobilenet_v3_small", 0), ("densenet121", 62)]
)
def test_torchvision_nets(name: str, left: int) -> None:
    # DenseNet normalises before the conv: only norms that follow one can go.
    import torchvision

    torch.manual_seed(0)
    net = shake(getattr(torchvision.models, name)(num_classes=6))
    before = copy.deepcopy(net.state_dict())
    folded = fold_batchnorm(net, torch.zeros(1, 3, 64, 64))
    assert norms(folded) == left < norms(net)
    assert type(folded) is type(net)
    assert_equal_outputs(net, folded, torch.randn(2, 3, 64, 64))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    copies = pickle.loads(pickle.dumps(folded)), copy.deepcopy(folded)
    for other in copies:
        assert_equal_outputs(folded, other, torch.randn(1, 3, 64, 64))


def test_original_keeps_training_mode_and_folded_is_eval() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()
    folded = fold_batchnorm(net, EXAMPLE)
    assert net.training
    assert net[1].training
    assert int(net[1].num_batches_tracked) == 0
    assert not folded.training
    assert isinstance(folded[1], nn.Identity)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_with_norm(bias: bool, affine: bool) -> None:
    norm = nn.BatchNorm1d(7, affine=affine)
    net = shake(nn.Sequential(nn.Flatten(), nn.Linear(12, 7, bias=bias), norm, nn.Linear(7, 2)))
    folded = fold_batchnorm(net, torch.zeros(2, 3, 2, 2))
    assert norms(folded) == 0
    assert_equal_outputs(net, folded, torch.randn(4, 3, 2, 2))


def test_linear_over_sequences_is_left_alone() -> None:
    # On N x L x C the norm scales positions, which no weight of the linear can do.
    net = shake(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(6)))
    assert conv_bn_pairs(net, torch.zeros(2, 6, 5)) == []
    folded = fold_batchnorm(net, torch.zeros(2, 6, 5))
    assert norms(folded) == 1
    assert_equal_outputs(net, folded, torch.randn(2, 6, 5))


class Branching(nn.Module):
    """Everything that must not fold, and one pair (``e``) behind data-dependent control flow that may."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.a_norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)  # a's output is read twice
        self.b, self.b_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)  # runs twice
        self.c, self.c_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, track_running_stats=False)
        self.d, self.d_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)  # d's output is also returned
        self.e, self.e_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.f, self.f_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)  # an in-place ReLU stands between

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.a(x)
        x = self.a_norm(a) + a
        for _ in range(2):
            x = self.b_norm(self.b(x))
        x = self.c_norm(self.c(x))
        d = self.d(x)
        x = self.d_norm(d)
        if float(x.mean()) != 12345.0:
            x = self.e_norm(self.e(x))
        x = self.f_norm(torch.relu_(self.f(x)))
        return x, d


def test_only_pairs_that_may_fold_do() -> None:
    net = shake(Branching())
    assert conv_bn_pairs(net, EXAMPLE) == [("e", "e_norm")]
    folded = fold_batchnorm(net, EXAMPLE)
    assert isinstance(folded.e_norm, nn.Identity)
    assert norms(folded) == 5
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        for want, got in zip(net(x), folded(x), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_tied_weights_stay_right() -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
    net[2].weight = net[0].weight
    shake(net)
    folded = fold_batchnorm(net, torch.zeros(1, 8, 4, 4))
    assert norms(folded) == 0
    assert_equal_outputs(net, folded, torch.randn(1, 8, 4, 4))


class Standardised(nn.Conv2d):
    """Normalises its own weight, so a scale put into it is lost (Qiao et al. 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / weight.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


def test_wrong_fold_is_refused() -> None:
    with pytest.raises(CompressError, match="folding batch norms changed"):
        fold_batchnorm(shake(nn.Sequential(Standardised(3, 8, 3), nn.BatchNorm2d(8))), EXAMPLE)


def test_where_a_fold_is_refused_a_copy_is_as_right() -> None:
    net = shake(nn.Sequential(Standardised(3, 8, 3), nn.BatchNorm2d(8))).train()
    copied = folded(net, EXAMPLE)
    assert norms(copied) == 1
    assert copied is not net
    assert net.training
    assert not copied.training
    assert_equal_outputs(net, copied, torch.randn(2, 3, 16, 16))


def test_grouped_and_affineless() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8, affine=False),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
    )
    shake(net)
    folded = fold_batchnorm(net, EXAMPLE)
    assert norms(folded) == 0
    assert_equal_outputs(net, folded, torch.randn(2, 3, 16, 16))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_what_was_trained_is_trained_on_and_what_was_frozen_stays_frozen(bias: bool, affine: bool) -> None:
    def net() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=bias),
            nn.BatchNorm2d(8, affine=affine),
            nn.Flatten(),
            nn.Linear(8 * 14 * 14, 7, bias=bias),
            nn.BatchNorm1d(7),
        )

    folded = fold_batchnorm(shake(net()), EXAMPLE)
    assert len(list(folded.parameters())) == 4
    assert all(p.requires_grad for p in folded.parameters())
    frozen = fold_batchnorm(shake(net()).requires_grad_(False), EXAMPLE)
    assert not any(p.requires_grad for p in frozen.parameters())
    partly = shake(net())
    partly[0].weight.requires_grad_(False)
    found = {name: p.requires_grad for name, p in fold_batchnorm(partly, EXAMPLE).named_parameters()}
    assert found == {"0.weight": False, "0.bias": bias or affine, "3.weight": True, "3.bias": True}


def test_folded_net_exports_to_onnx_and_agrees(tmp_path: Path) -> None:
    import onnxruntime

    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.Hardswish())
    net = shake(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), block, nn.Flatten(), nn.Linear(8 * 14 * 14, 4))
    )
    folded = fold_batchnorm(net, EXAMPLE)
    torch.onnx.export(folded, (EXAMPLE,), str(tmp_path / "net.onnx"), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    x = torch.randn(1, 3, 16, 16)
    got = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got), net(x), rtol=1e-3, atol=1e-4)
