"""Nets on disk: what comes back, and what is refused without running it."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import InputError
from compress.models.arch import build
from compress.models.checkpoint import load_net, save_net
from compress.net import Net, Preprocess, Quant

MODEL = {
    "input_channel": 3,
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "backbone": [
        [1, "InvertedResidualv3", [3, 4, 8, 1, 1, 2]],
        [1, "GlobalAvgPool", []],
        [1, "FixedConv", [2, 1]],
    ],
}


@pytest.fixture
def net() -> Net:
    quant = Quant(np.full((2, 32, 32, 3), 7, np.uint8), "entropy", ("0.body",))
    return Net(build(MODEL), Preprocess(32, (0.5, 0.5, 0.5)), ("a", "b"), quant)


def test_a_net_comes_back_as_it_was(net: Net, tmp_path: Path) -> None:
    save_net(net, tmp_path / "one.pt")
    back = load_net(tmp_path / "one.pt")
    assert (back.labels, back.preprocess) == (net.labels, net.preprocess)
    assert back.quant is not None
    assert (back.quant.method, back.quant.exclude) == ("entropy", ("0.body",))
    np.testing.assert_array_equal(back.quant.images, np.full((2, 32, 32, 3), 7, np.uint8))
    assert not back.module.training
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(back.module(x), net.module.eval()(x), rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["one.pt"]


def test_a_folder_stands_for_its_net(net: Net, tmp_path: Path) -> None:
    save_net(net, tmp_path / "net.pt")
    assert load_net(tmp_path).labels == ("a", "b")
    with pytest.raises(InputError, match=r"no net\.pt in this folder"):
        load_net(tmp_path.parent)


def test_saving_over_a_net_leaves_a_whole_one_at_any_time(net: Net, tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    save_net(net, file)
    before = file.read_bytes()
    broken = Net(nn.Sequential(), net.preprocess, net.labels)
    broken.module.unpicklable = lambda: None  # type: ignore[assignment]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_net(broken, file)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_other_files_are_refused_and_not_run(net: Net, tmp_path: Path) -> None:
    file = tmp_path / "f.pt"
    mark = tmp_path / "ran"
    for content in (net.module.state_dict(), {"net": Bomb(mark)}, nn.Linear(2, 2)):
        torch.save(content, file)
        with pytest.raises(InputError, match="not a net that beyondnas wrote"):
            load_net(file)
    assert not mark.exists()
    file.write_bytes(b"PK not a zip")
    with pytest.raises(InputError, match="not a net that beyondnas wrote"):
        load_net(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(InputError, match="not a net that beyondnas wrote"):
        load_net(file)
    with pytest.raises(InputError, match="no such file"):
        load_net(tmp_path / "absent.pt")


def test_a_bare_net_without_the_format_is_refused(net: Net, tmp_path: Path) -> None:
    torch.save(net, tmp_path / "f.pt")
    with pytest.raises(InputError, match="not a net that beyondnas wrote"):
        load_net(tmp_path / "f.pt")


def test_a_damaged_file_is_an_input_error(net: Net, tmp_path: Path) -> None:
    file = tmp_path / "f.pt"
    save_net(net, file)
    whole = file.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 40):
        file.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="or damaged"):
            load_net(file)


def test_a_later_version_is_refused(net: Net, tmp_path: Path) -> None:
    torch.save({"format": "beyondnas-net", "version": 2, "labels": [], "net": net}, tmp_path / "f.pt")
    with pytest.raises(InputError, match="version 2 of the format, this program reads 1"):
        load_net(tmp_path / "f.pt")


def test_code_that_is_not_here_is_named(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "their_blocks.py"
    source.write_text("from torch import nn\nclass Theirs(nn.Identity): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import their_blocks

    save_net(Net(their_blocks.Theirs(), net.preprocess, net.labels), tmp_path / "f.pt")
    monkeypatch.undo()
    monkeypatch.delitem(__import__("sys").modules, "their_blocks")
    with pytest.raises(InputError, match=r"code that is not installed here: .*their_blocks"):
        load_net(tmp_path / "f.pt")
