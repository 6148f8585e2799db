"""The doctor: what it finds, the verdict it comes to, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compress.commands.doctor import _show
from compress.doctor import machine, software
from compress.doctor.diagnosis import Diagnosis, Finding, Noise, noise_finding
from compress.doctor.noise import noise_floor
from compress.runtimes.kinds import RUNTIMES

ROOT = Path(__file__).resolve().parents[2]


def noise(told: float = 0.01, called_different: bool = False) -> Noise:
    return Noise("a net", 1.0, 3.0, told, called_different, "4 loads x 40 blocks", None)


def called(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (["ok", "ok"], "trustworthy"),
        (["ok", "care"], "usable with care"),
        (["care", "bad", "ok"], "not now"),
    ],
)
def test_the_worst_finding_decides(states: list, verdict: str) -> None:
    findings = tuple(
        Finding(f"t{i}", f"f{i}", state, f"do {i}" * (state != "ok")) for i, state in enumerate(states)
    )
    found = Diagnosis(findings, noise())
    assert found.verdict == verdict
    assert found.line.startswith(f"{verdict}: a difference of 1.0% can be told in 3 s")
    for i, state in enumerate(states):
        assert (f"t{i}: f{i}" in found.line) == (f"do {i}" in found.line) == (state != "ok")
    assert found.to_dict()["findings"][0]["topic"] == "t0"


@pytest.mark.parametrize(
    ("told", "different", "state"),
    [
        (0.01, False, "ok"),
        (0.01, True, "care"),
        (0.03, False, "care"),
        (0.1, False, "bad"),
        (0.1, True, "bad"),
    ],
)
def test_the_noise_floor_is_judged(told: float, different: bool, state: str) -> None:
    found = noise_finding(noise(told, different))
    assert found.state == state
    assert f"{told:.1%}" in found.found
    assert bool(found.advice) == (state != "ok")


@pytest.mark.parametrize(
    ("busy", "total", "state"),
    [(0.1, 2, "ok"), (1.0, 2, "care"), (1.9, 2, "care"), (1.0, 16, "ok"), (6, 16, "care")],
)
def test_other_processes_are_judged_by_what_they_leave(busy: float, total: int, state: str) -> None:
    found = machine.load(busy, total, ["hog (pid 7) 99%"])
    assert found.state == state
    assert "hog (pid 7)" in found.found
    assert ("no core is free" in found.found) == (total - busy < 0.75)


def test_stolen_time_asks_for_care() -> None:
    assert machine.hypervisor(0.2).state == "care"
    assert "20.0%" in machine.hypervisor(0.2).found
    assert machine.hypervisor(0.0).state == "ok"


@pytest.mark.parametrize(
    ("governor", "driver", "state"),
    [
        ("performance", "acpi-cpufreq", "ok"),
        ("powersave", "acpi-cpufreq", "care"),
        ("powersave", "intel_pstate", "ok"),
        ("schedutil", "acpi-cpufreq", "ok"),
    ],
)
def test_the_governor_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, governor: str, driver: str, state: str
) -> None:
    folder = tmp_path / "cpu0" / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text(governor + "\n")
    (folder / "scaling_driver").write_text(driver + "\n")
    (tmp_path / "cpufreq").mkdir()
    (tmp_path / "cpufreq" / "boost").write_text("1\n")
    monkeypatch.setattr(machine, "_CPUS", tmp_path)
    found = machine.clock()
    assert f"governor {governor} ({driver}), turbo on" in found.found
    if "battery" not in found.found:
        assert found.state == state


def test_where_nothing_is_readable_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: no /sys, no /proc, no pinning."""
    monkeypatch.setattr(machine, "_CPUS", tmp_path / "absent")
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert "not readable" in machine.clock().found
    assert machine.cores().state == "care"
    assert "cannot pin" in machine.cores().found


@pytest.mark.parametrize(
    ("policy", "state"), [("passive", "ok"), ("PASSIVE", "ok"), ("active", "care"), (None, "care")]
)
def test_spinning_threads_ask_for_care(
    monkeypatch: pytest.MonkeyPatch, policy: str | None, state: str
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    assert software.threads().state == state


def test_every_runtime_has_a_line() -> None:
    found = {one.topic: one for one in software.software_findings()}
    for cls in RUNTIMES:
        kind = cls.model_fields["kind"].default
        line, missing = found[f"runtime {kind}"].found, cls(kind=kind).missing()
        assert found[f"runtime {kind}"].state == ("ok" if missing is None else "absent")
        if missing is None:
            assert line.split(";")[0].split()[1][0].isdigit()  # package version
        else:
            assert line == missing


def test_a_model_against_itself_gives_the_noise_floor() -> None:
    found = noise_floor(0.5)
    assert 0.0001 < found.told < 0.5
    assert 0.01 < found.ms < 100
    assert found.seconds == 0.5
    assert "ONNX Runtime" in found.model
    assert "loads x" in found.note


@pytest.mark.parametrize("absent", ["onnxruntime", "onnx"])
def test_without_onnx_runtime_or_onnx_it_is_numpy(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    assert noise_floor(0.2).model.endswith(f"in numpy ({absent} is not installed)")


def test_an_extra_is_printed_with_its_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    """Which rich would take for a style."""
    _show(Diagnosis((Finding("runtime ncnn", "pip install 'beyondnas[ncnn]'"),), noise()))
    assert "pip install 'beyondnas[ncnn]'" in capsys.readouterr().out


def test_it_prints_json_without_torch_and_its_exit_code_is_the_verdict() -> None:
    code = (
        "import sys; from compress.__main__ import main\n"
        "code = main(['doctor', '--json', '--seconds', '0.3'])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = called(code)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert done.returncode == (1 if found["verdict"] == "not now" else 0)
    assert found["line"].startswith(found["verdict"])
    topics = [one["topic"] for one in found["findings"]]
    assert topics[0] == "CPU"
    assert topics[-1] == "noise floor"
    assert {"load", "cores", "priority", "clock", "hypervisor", "memory", "threads"} <= set(topics)
    assert found["noise"]["told"] > 0


def test_too_noisy_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model whose calls take 0.5 to 5 ms at random cannot be told from itself."""
    import time

    import numpy as np

    from compress.__main__ import main
    from compress.doctor import noise as floor

    rng = np.random.default_rng(0)
    monkeypatch.setattr(floor, "_onnx", lambda folder: lambda: lambda: time.sleep(rng.uniform(5e-4, 5e-3)))
    assert main(["doctor", "--seconds", "0.3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("not now: a difference of ")
    assert "To do: " in lines[-1]
    assert any("noise floor" in line and "bad" in line for line in lines)
