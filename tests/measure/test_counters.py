import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from compress.measure import counters

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "params", "macs", "layers", "activations"),
    [
        ("mobilenet_v3_small", 2_542_856, 56.5e6, 54, 1.42e6),
        ("mobilenet_v2", 3_504_872, 300.8e6, 53, 6.68e6),
        ("resnet18", 11_689_512, 1814e6, 21, 2.48e6),
        ("resnet50", 25_557_032, 4089e6, 54, 11.1e6),  # as the RegNet paper has it
    ],
)
def test_known_nets(name, params, macs, layers, activations):
    net = torchvision.models.get_model(name, weights=None)
    got = counters.count(net, torch.zeros(3, 3, 224, 224))
    assert got.params == params
    assert got.macs == pytest.approx(macs, rel=2e-3)
    assert got.layers == layers
    assert got.activations == pytest.approx(activations, rel=2e-2)
    assert got.memory_bytes == 4 * got.memory
    assert net.training


def test_peak_memory_of_mobilenet_v2_is_at_its_second_block():
    net = torchvision.models.mobilenet_v2(weights=None)
    got = counters.count(net, torch.zeros(1, 3, 224, 224))
    assert got.peak_bytes == 4 * (96 * 112 * 112 + 96 * 56 * 56)


def test_by_hand():
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5, bias=False)
    )
    got = counters.count(net, torch.zeros(2, 4, 6, 6))
    conv, linear = 4 * 36 + 8 * 16 + 8 * 2 * 9 + 8, 128 + 5 + 640
    assert got == counters.Counts(
        params=8 * 2 * 9 + 8 + 640,
        macs=16 * 8 * 2 * 9 + 640,
        layers=2,
        memory=conv + linear,
        memory_bytes=4 * (conv + linear),
        activations=8 * 16,
        peak_bytes=4 * (4 * 36 + 8 * 16),
    )


def test_shared_weights_count_once_and_their_work_twice():
    layer = nn.Linear(6, 6, bias=False)
    got = counters.count(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 6))
    assert (got.params, got.macs, got.layers) == (36, 72, 1)
    assert got.memory == 2 * (6 + 6 + 36)


def test_the_machine_is_the_same_in_another_process_and_json():
    code = "import json; from compress.measure.counters import machine; print(json.dumps(machine()))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert json.loads(out) == counters.machine()
    assert {"id", "cpu", "cores", "os", "python", "versions"} <= counters.machine().keys()
    assert counters.machine()["versions"]["torch"].startswith(torch.__version__.split("+")[0])


def test_the_machine_costs_no_torch():
    code = "import sys, compress.measure.counters as c; c.machine(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def arm(monkeypatch, tmp_path, parts, board):
    """The machine as seen where Linux on ARM says ``parts`` of its cores."""
    info = [pair for part in parts for pair in (("CPU implementer", "0x41"), ("CPU part", part))]
    monkeypatch.setattr(counters, "_cpuinfo", lambda: info)
    monkeypatch.setattr(counters, "_BOARD", tmp_path / "model")
    (tmp_path / "model").unlink(missing_ok=True)
    if board:
        (tmp_path / "model").write_bytes(board.encode() + b"\0")
    return counters.machine.__wrapped__()


def test_arm_machines_are_told_apart_by_board_and_cores(monkeypatch, tmp_path):
    """Their kernels give the CPU no name: else all would share their stored times."""
    pi = arm(monkeypatch, tmp_path, ["0xd08"] * 4, "Raspberry Pi 4 Model B Rev 1.4")
    assert pi["cpu"] == "Raspberry Pi 4 Model B Rev 1.4 (implementer 0x41 part 0xd08)"
    server = arm(monkeypatch, tmp_path, ["0xd0c"] * 4, None)
    assert server["cpu"].endswith(" (implementer 0x41 part 0xd0c)")
    phone = arm(monkeypatch, tmp_path, ["0xd05", "0xd05", "0xd0b", "0xd0b"], None)
    assert phone["cpu"].endswith(" part 0xd05 and 0xd0b)")
    assert len({one["id"] for one in (pi, server, phone)}) == 3
