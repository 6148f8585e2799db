"""What tells nets apart: all that decides what they compute and learn; the same in every process."""

from __future__ import annotations

import copy
import enum
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.contents import contents
from compress.data.digits import DigitsData
from compress.inputs import fingerprint
from compress.lab import Lab
from compress.models.checkpoint import save_net
from compress.models.zoo import CheckpointModel
from compress.net import Net, Preprocess, Quant
from compress.recipe import Recipe
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.scoring import Scorer
from compress.stages.base import Plan
from compress.stages.finetune import Finetune
from compress.store import Store
from compress.train import TrainSpec


def double(x: Tensor) -> Tensor:
    return 2 * x


def triple(x: Tensor) -> Tensor:
    return 3 * x


class Way(enum.Enum):
    THERE = 1
    BACK = 2


class Settings:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Shy:
    """Cannot be pickled, and its repr is an address."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("no")


class Own(nn.Module):
    """A net whose text and weights leave open what it does."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3)
        self.second = nn.Conv2d(10, 10, 1)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(getattr(self, "act", torch.relu)(self.first(x))).mean((2, 3))
        return out


def own(**attributes: Any) -> Own:
    torch.manual_seed(0)
    return Own(**attributes)


def frozen() -> Own:
    made = own()
    made.first.requires_grad_(False)
    return made


def tied() -> Own:
    made = own(third=nn.Conv2d(10, 10, 1))
    made.third = made.second
    return made


def untied() -> Own:
    made = own(third=nn.Conv2d(10, 10, 1))
    made.third = copy.deepcopy(made.second)
    return made


def hooked(hook: Callable[..., Any]) -> Own:
    made = own()
    made.first.register_forward_hook(hook)
    return made


def scaled(by: float) -> Callable[[Tensor], Tensor]:
    return lambda x: by * x


def ramp(length: int) -> Own:
    made = own()
    made.register_buffer("ramp", torch.arange(length), persistent=False)
    return made


def pointing(name: str) -> Own:
    made = own()
    made.at = [getattr(made, name)]  # type: ignore[assignment]
    return made


DIFFERENT = {
    "a function": (own(act=F.relu), own(act=F.gelu), own(act=torch.tanh), own(act=double), own(act=triple)),
    "a function's parameters": (own(act=partial(F.elu, alpha=0.5)), own(act=partial(F.elu, alpha=2.0))),
    "what a function is bound to": (own(act=scaled(2.0)), own(act=scaled(3.0))),
    "a method's object": (own(act=nn.ELU(0.5).forward), own(act=nn.ELU(2.0).forward)),
    "numbers": tuple(own(skip=skip) for skip in (True, False, 1, 1.0, None, "1", b"1", 2)),
    "how they are nested": tuple(own(at=at) for at in ([1, 2], (1, 2), [[1], 2], {1: 2}, {1, 2})),
    "an order": (own(at={"a": 1, "b": 2}), own(at={"b": 2, "a": 1})),
    "a choice": (own(way=Way.THERE), own(way=Way.BACK)),
    "an array": (own(at=np.arange(3)), own(at=np.arange(3.0)), own(at=np.arange(4))),
    "a tensor": (own(at=torch.arange(3)), own(at=torch.arange(4)), own(at=nn.Parameter(torch.arange(3.0)))),
    "settings": (own(at=Settings(heads=2)), own(at=Settings(heads=4))),
    "a class": (own(norm=nn.BatchNorm2d), own(norm=nn.InstanceNorm2d)),
    "a hidden module": (own(at=[nn.ELU(0.5)]), own(at=[nn.ELU(2.0)])),
    "which module is meant": (pointing("first"), pointing("second")),
    "a buffer that is not stored": (ramp(3), ramp(4)),
    "what is frozen": (own(), frozen()),
    "what is shared": (tied(), untied()),
    "hooks": (own(), hooked(double), hooked(triple)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_nets_of_equal_text_and_weights_differ_by(what: str) -> None:
    found = [contents(net) for net in DIFFERENT[what]]
    assert len(set(found)) == len(found)


def rich() -> Own:
    """Of everything something."""
    torch.manual_seed(0)
    made = own(
        act=partial(F.elu, alpha=0.5),
        names={"one", "two", "three", "four"},
        ways=frozenset(Way),
        acts=[F.relu, torch.tanh, np.tanh, double, nn.ELU(0.5).forward, nn.BatchNorm2d, len],
        table={
            "a": np.arange(3),
            (1, 2): [torch.float32, torch.Size([1, 2]), torch.device("cpu"), Path("a")],
        },
        shy=Shy(),
        lstm=nn.LSTM(2, 3),
        traced=torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU())),
    )
    made.settings = Settings(heads=2, owner=[made], names={"one", "two"})  # type: ignore[assignment]
    made.settings.itself = made.settings
    return made


def test_two_processes_find_the_same() -> None:
    code = "from test_contents import rich; from compress.contents import contents; print(contents(rich()))"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    for seed in ("1", "2"):  # of the order of sets
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.stdout.strip() == contents(rich()), done.stderr


def test_copies_and_stored_nets_are_the_same_net_in_either_mode() -> None:
    net = rich()
    del net.shy
    before = contents(net)
    assert contents(copy.deepcopy(net)) == before
    assert contents(pickle.loads(pickle.dumps(net))) == before
    assert contents(net.eval()) == before
    with torch.no_grad():
        net(torch.zeros(1, 3, 8, 8))
    assert contents(net) == before


@pytest.mark.parametrize(
    "written",
    [
        "def made(x): return {} * x",
        "class Made(Module):\n    def forward(self, x): return {} * x\nmade = Made()",
        "class Made(Module):\n    by = {}\n    def forward(self, x): return self.by * x\nmade = Made()",
        "class Base(Module):\n    def forward(self, x): return {} * x\nclass Made(Base): pass\nmade = Made()",
    ],
)
def test_code_that_is_written_anew_is_other_code(written: str) -> None:
    """In a notebook no file says so."""
    scope: dict[str, Any] = {"__name__": "__main__", "Module": nn.Module}
    found = []
    for factor in (2, 3, 2):
        exec(written.format(factor), scope)
        found.append(contents(own(act=scope["made"])))
    assert found[0] == found[2] != found[1]


def test_a_net_of_ones_own_is_trained_for_what_it_is(tmp_path: Path) -> None:
    recipe = Recipe(name="x", data=DigitsData(image_size=8), train=TrainSpec(epochs=1, batch_size=512))
    keys = []
    for net in (own(act=F.relu), own(act=torch.tanh), frozen()):
        lab = Lab.start(recipe, model=net, store=Store(tmp_path), log=lambda line: None)
        trained, cached = lab.train(lab.base_key, recipe.train)
        assert not cached
        assert getattr(trained.module, "act", None) == getattr(net, "act", None)
        assert torch.equal(trained.module.first.weight, net.first.weight) == (
            not net.first.weight.requires_grad
        )
        keys.append(lab.base_key)
        again = Lab.start(recipe, model=net, store=Store(tmp_path), log=lambda line: None)
        assert again.base_key == lab.base_key
    assert len(set(keys)) == 3


def int8(images: int, **more: Any) -> Net:
    calibration = np.random.default_rng(0).integers(0, 256, (images, 8, 8, 3), dtype=np.uint8)
    return Net(own(), Preprocess(8), tuple("0123456789"), Quant(calibration, **more))


def test_what_deployment_adds_counts() -> None:
    nets = [int8(8), int8(9), int8(8, method="entropy"), int8(8, exclude=("first",))]
    nets += [Net(own(), Preprocess(size), nets[0].labels) for size in (8, 16)]
    assert len({fingerprint(net) for net in nets}) == len(nets)
    assert fingerprint(int8(8)) == fingerprint(int8(8).copy()) == fingerprint(nets[0])


def test_an_int8_net_counts_by_the_levels_that_its_weights_have_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines that share a store, one of them without VNNI: what int8 is exported and trained differs."""
    keys: dict[str, list[str]] = {"int8": [], "float": []}

    def exported(scorer: Scorer, net: Net, key: str) -> None:
        keys["float" if net.quant is None else "int8"].append(key)
        raise InterruptedError

    monkeypatch.setattr(Scorer, "_artifact", exported)
    monkeypatch.setattr("compress.ops.cpu.platform", SimpleNamespace(machine=lambda: "x86_64"))
    recipe = Recipe(name="x", data=DigitsData(image_size=8), train=TrainSpec(epochs=0), runtime=OnnxRuntime())
    for flags in ({"avx2"}, {"avx2", "avx_vnni"}, {"avx2"}):
        monkeypatch.setattr("compress.ops.cpu.cpu_flags", lambda flags=flags: frozenset(flags))
        for net in (int8(8), own()):
            lab = Lab.start(recipe, model=net, store=Store(tmp_path), log=lambda line: None)
            lab.measure_in_runtime_of(lab.backbone)
            kind = "float" if lab.backbone.quant is None else "int8"
            keys[kind] += [lab.base_key, lab.stage_key(Finetune(), lab.base_key, Plan())]
            with pytest.raises(InterruptedError):
                lab.measuring.score(lab.backbone, "made elsewhere", None)
    first, second, third = (keys["int8"][i : i + 3] for i in (0, 3, 6))
    assert first == third
    assert not set(first) & set(second)
    assert keys["float"][:3] == keys["float"][3:6] == keys["float"][6:]


def test_a_checkpoint_counts_by_all_of_its_net(tmp_path: Path) -> None:
    """Two int8 nets of the same weights, which other images were the calibration of, in one file."""
    model = CheckpointModel(path=tmp_path / "net.pt")
    recipe = Recipe(name="x", data=DigitsData(image_size=8), model=model, train=TrainSpec(epochs=0))
    keys = []
    for images in (8, 9, 8):
        save_net(int8(images), model.path)
        keys.append(Lab.start(recipe, store=Store(tmp_path), log=lambda line: None).base_key)
    assert keys[0] == keys[2] != keys[1]
