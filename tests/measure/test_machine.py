import json
import subprocess
import sys
from pathlib import Path

import torch

from compress.measure import machine

ROOT = Path(__file__).resolve().parents[2]


def test_the_machine_is_the_same_in_another_process_and_json():
    code = "import json; from compress.measure.machine import machine; print(json.dumps(machine()))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert json.loads(out) == machine.machine()
    assert {"id", "cpu", "cores", "os", "python", "versions"} <= machine.machine().keys()
    assert machine.machine()["versions"]["torch"].startswith(torch.__version__.split("+")[0])


def test_the_machine_costs_no_torch():
    code = "import sys, compress.measure.machine as c; c.machine(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def arm(monkeypatch, tmp_path, parts, board):
    """The machine as seen where Linux on ARM says ``parts`` of its cores."""
    info = [pair for part in parts for pair in (("CPU implementer", "0x41"), ("CPU part", part))]
    monkeypatch.setattr(machine, "_cpuinfo", lambda: info)
    monkeypatch.setattr(machine, "_BOARD", tmp_path / "model")
    (tmp_path / "model").unlink(missing_ok=True)
    if board:
        (tmp_path / "model").write_bytes(board.encode() + b"\0")
    return machine.machine.__wrapped__()


def test_arm_machines_are_told_apart_by_board_and_cores(monkeypatch, tmp_path):
    """Their kernels give the CPU no name: else all would share their stored times."""
    pi = arm(monkeypatch, tmp_path, ["0xd08"] * 4, "Raspberry Pi 4 Model B Rev 1.4")
    assert pi["cpu"] == "Raspberry Pi 4 Model B Rev 1.4 (implementer 0x41 part 0xd08)"
    server = arm(monkeypatch, tmp_path, ["0xd0c"] * 4, None)
    assert server["cpu"].endswith(" (implementer 0x41 part 0xd0c)")
    phone = arm(monkeypatch, tmp_path, ["0xd05", "0xd05", "0xd0b", "0xd0b"], None)
    assert phone["cpu"].endswith(" part 0xd05 and 0xd0b)")
    assert len({one["id"] for one in (pi, server, phone)}) == 3
