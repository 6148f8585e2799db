"""ncnn's files: what they take, what they hold, and what is said where pnnx or ncnn cannot follow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import CompressError
from compress.models import arch
from compress.net import Net, Preprocess
from compress.runtimes.base import Artifact
from compress.runtimes.deploy import export_net, parity
from compress.runtimes.ncnn_runtime import NcnnRuntime

ROOT = Path(__file__).resolve().parents[2]

if line := NcnnRuntime().missing(export=True):
    pytest.skip(line, allow_module_level=True)


def layers(artifact):
    lines = (artifact.path / "model.ncnn.param").read_text().splitlines()[2:]
    return [line.split()[0] for line in lines]


def test_no_layer_is_spent_on_layout(net, tmp_path):
    """uint8 N x H x W x 3 in, yet nothing is permuted or cast in the net: planes are made outside of it."""
    artifact = export_net(net, NcnnRuntime(), tmp_path / "a")
    found = layers(artifact)
    assert not {"Permute", "Cast", "Reshape", "Expression"} & set(found)
    weighted = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.module.modules())
    assert sum(name in ("Convolution", "ConvolutionDepthWise", "InnerProduct") for name in found) == weighted
    assert "BatchNorm" not in found


class Shuffle(nn.Module):
    """ShuffleNet's unit: a split, a branch, a concatenation, a shuffle of the channels."""

    def __init__(self, channels):
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(channels // 2, channels // 2, 3, padding=1), nn.ReLU())

    def forward(self, x):
        left, right = x.chunk(2, 1)
        n, c, h, w = x.shape
        x = torch.cat([left, self.branch(right)], 1)
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@pytest.mark.parametrize("name", ["shuffle", "mobilenetv3_small", "mobilenetv2"])
def test_nets_agree_with_torch(name, pictures, tmp_path):
    torch.manual_seed(0)
    if name == "shuffle":
        body = [nn.Conv2d(3, 16, 3, 2, 1), *(Shuffle(16) for _ in range(3))]
        module = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    else:
        module = arch.build(ROOT / f"recipes/models/{name}.yaml", 4, size=32)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as trained: else signals die out in the depth
            layer.momentum = 1.0
    module.train()
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    net = Net(module, Preprocess(32), tuple("abcd"))
    with torch.no_grad():
        module(net.preprocess.normalise(pixels))
    module.eval()
    found = parity(net, NcnnRuntime(), export_net(net, NcnnRuntime(), tmp_path / "a"), pictures)
    assert found.ok
    assert found.allowed > 1e-5  # logits that say something
    assert found.max_difference < 0.1 * found.allowed


@pytest.mark.parametrize(("layer", "shape"), [(nn.Linear(12, 5), (12,)), (nn.Conv1d(4, 6, 3), (4, 10))])
def test_inputs_of_other_ranks(layer, shape, tmp_path):
    x = torch.randn(3, *shape)
    artifact = NcnnRuntime().export(layer, x[:1], tmp_path / "a")
    want = layer(x).detach().numpy()
    assert np.abs(NcnnRuntime().load(artifact, None)(x.numpy()) - want).max() < 1e-5


def test_a_layer_that_ncnn_lacks_is_one_line(tmp_path):
    class Sorted(nn.Module):
        def forward(self, x):
            return torch.cumsum(x.flatten(1), 1).sort(1).values

    with pytest.raises(CompressError, match=r"ncnn has no layer|pnnx cannot convert") as caught:
        NcnnRuntime().export(Sorted(), torch.rand(1, 3, 4, 4), tmp_path / "a")
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_files_that_ncnn_cannot_read_are_named(relu6_net, tmp_path):
    """In a process of its own: ncnn says it on stderr too."""
    artifact = export_net(relu6_net, NcnnRuntime(), tmp_path / "a")
    (artifact.path / "model.ncnn.param").write_text("7767517\n1 1\nAbacus a 0 1 a\n")
    code = f"""
from pathlib import Path
from compress.runtimes.base import Artifact
from compress.runtimes.ncnn_runtime import NcnnRuntime
from compress.errors import CompressError
try:
    NcnnRuntime().load(Artifact(Path({str(artifact.path)!r})))
except CompressError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == f"{artifact.path}/model.ncnn.param: ncnn cannot load it\n", done.stderr
    assert Artifact(artifact.path).meta["runtime"] == "ncnn"
