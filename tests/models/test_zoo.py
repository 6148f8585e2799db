"""What a recipe's ``model`` may say: built, checked, and refused with a clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torchvision import models

from compress.errors import CompressError, InputError
from compress.models.checkpoint import save_net
from compress.models.zoo import CheckpointModel, ModelSpec, PretrainedModel, TorchvisionModel, YamlModel
from compress.net import IMAGENET_MEAN, Net, Preprocess, Quant

LABELS = ("glass", "metal", "paper")
MODELS = Path(__file__).resolve().parents[2] / "recipes" / "models"


def test_specs_round_trip_through_their_json() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ModelSpec)
    for spec in (
        YamlModel(path=Path("m.yaml")),
        TorchvisionModel(name="resnet18", weights="DEFAULT"),
        CheckpointModel(path=Path("net.pt")),
        PretrainedModel(),
    ):
        assert adapter.validate_python(spec.canonical()) == spec


def test_a_yaml_model_takes_the_datas_classes() -> None:
    spec = YamlModel(path=MODELS / "mobilenetv3_small.yaml")
    assert spec.check() == []
    net = spec.build(LABELS, 64)
    assert net.module(net.example(2)).shape == (2, 3)
    assert (net.labels, net.preprocess) == (LABELS, Preprocess(64))
    assert not net.module.training


def test_a_yaml_models_problems(tmp_path: Path) -> None:
    assert YamlModel(path=tmp_path / "absent.yaml").check() == [f"{tmp_path / 'absent.yaml'}: no such file"]
    file = tmp_path / "m.yaml"
    file.write_text(
        "input_channel: 1\ndepth_multiple: 1\nwidth_multiple: 1\n"
        "backbone: [[1, MaxPool, [16]], [1, Conv, [8, 1]], [1, GlobalAvgPool, []]]\n"
    )
    spec = YamlModel(path=file)
    assert spec.check() == [f"{file}: input_channel must be 3 (RGB), found 1"]
    with pytest.raises(InputError, match="input_channel must be 3"):
        spec.build(LABELS, 64)
    file.write_text(file.read_text().replace("input_channel: 1", "input_channel: 3"))
    assert spec.check() == []
    with pytest.raises(InputError, match=r"row 1 \[1, MaxPool, \[16\]\]: its window does not fit"):
        spec.build(LABELS, 8)


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", "mobilenet_v2", "resnet18", "squeezenet1_1", "mnasnet0_5"]
)
def test_torchvision_models_give_logits_and_short_training_statistics(name: str) -> None:
    spec = TorchvisionModel(name=name)
    assert spec.check() == []
    net = spec.build(LABELS, 64)
    assert net.module(net.example(2)).shape == (2, 3)
    assert all(m.momentum == 0.1 for m in net.module.modules() if isinstance(m, nn.BatchNorm2d))


def test_torchvision_models_with_two_outputs_or_a_size_of_their_own() -> None:
    net = TorchvisionModel(name="googlenet").build(LABELS, 64)
    assert net.module.train()(torch.randn(2, 3, 64, 64)).shape == (2, 3)
    assert TorchvisionModel(name="vit_b_32").build(LABELS, 64).module(torch.zeros(1, 3, 64, 64)).shape == (
        1,
        3,
    )
    with pytest.raises(InputError, match=r"torchvision's alexnet cannot take 16 px images: "):
        TorchvisionModel(name="alexnet").build(LABELS, 16)


def test_an_unknown_torchvision_name_or_weights() -> None:
    (line,) = TorchvisionModel(name="mobilenetv3_smal").check()
    assert line == "torchvision has no classifier 'mobilenetv3_smal' (nearest: mobilenet_v3_small)"
    assert TorchvisionModel(name="maskrcnn_resnet50_fpn").check()  # not a classifier
    (line,) = TorchvisionModel(name="resnet18", weights="IMAGENET").check()
    assert line == "torchvision's resnet18 has no weights 'IMAGENET'; it has DEFAULT, IMAGENET1K_V1"
    with pytest.raises(InputError, match="no classifier 'x'; it has alexnet, "):
        TorchvisionModel(name="x").build(LABELS, 64)


def test_published_weights_fill_all_but_the_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's hub folder holds a file of that name already, so nothing is downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = models.MobileNet_V3_Small_Weights.DEFAULT.url
    file = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[-1]
    file.parent.mkdir(parents=True)
    torch.manual_seed(1)
    published = models.mobilenet_v3_small()
    torch.save(published.state_dict(), file)
    net = TorchvisionModel(name="mobilenet_v3_small", weights="DEFAULT").build(LABELS, 64)
    state = net.module.state_dict()
    differing = [k for k, v in published.state_dict().items() if not torch.equal(v, state[k])]
    assert differing == ["classifier.3.weight", "classifier.3.bias"]
    assert net.preprocess.mean == IMAGENET_MEAN


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(
        CompressError, match=r"resnet18 weights DEFAULT cannot be had: .*leave out weights"
    ) as e:
        TorchvisionModel(name="resnet18", weights="DEFAULT").build(LABELS, 64)
    assert e.value.exit_code == 1


def test_a_checkpoint_takes_up_its_labels_and_the_datas_size(tmp_path: Path) -> None:
    net = YamlModel(path=MODELS / "mobilenetv3_small.yaml").build(LABELS, 64)
    net.preprocess = Preprocess(64, (0.1, 0.2, 0.3))
    save_net(net, tmp_path / "net.pt")
    spec = CheckpointModel(path=tmp_path)
    assert spec.check() == []
    back = spec.build(LABELS, 96)
    assert back.preprocess == Preprocess(96, (0.1, 0.2, 0.3))
    x = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(back.module(x), net.module(x))
    with pytest.raises(InputError, match="tells glass, metal, paper apart, the data has a, b, c"):
        spec.build(("a", "b", "c"), 64)


def test_an_int8_checkpoint_keeps_its_size(tmp_path: Path) -> None:
    net = YamlModel(path=MODELS / "mobilenetv3_small.yaml").build(LABELS, 64)
    net.quant = Quant(np.zeros((1, 64, 64, 3), np.uint8))
    save_net(net, tmp_path / "net.pt")
    assert CheckpointModel(path=tmp_path / "net.pt").build(LABELS, 64).quant is not None
    with pytest.raises(InputError, match="int8 ranges were taken at 64 px, the data has 96 px"):
        CheckpointModel(path=tmp_path / "net.pt").build(LABELS, 96)


def test_a_checkpoint_that_cannot_take_the_size(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    save_net(Net(module, Preprocess(8), LABELS), tmp_path / "net.pt")
    assert CheckpointModel(path=tmp_path).build(LABELS, 8).preprocess.size == 8
    with pytest.raises(InputError, match="cannot take 16 px images"):
        CheckpointModel(path=tmp_path).build(LABELS, 16)


def test_a_checkpoint_that_is_not_there_or_not_ours(tmp_path: Path) -> None:
    (line,) = CheckpointModel(path=tmp_path / "absent.pt").check()
    assert "no such file" in line
    (line,) = CheckpointModel(path=tmp_path).check()
    assert "no net.pt in this folder" in line
    (tmp_path / "net.pt").write_text("text")
    (line,) = CheckpointModel(path=tmp_path).check()
    assert "not a net that beyondnas wrote" in line
