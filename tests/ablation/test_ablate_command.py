"""``ablate`` as a command: killed, interrupted and started again; what it lists and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from planted import quiet, recipe
from tinynet import TINY_FILE

from compress import Finetune, Recipe, ablate
from compress.__main__ import main
from compress.ablation.report import content
from compress.store import Store

pytestmark = pytest.mark.usefixtures("in_a_hurry")

TESTS = Path(__file__).parents[1]


def test_killed_and_interrupted_and_started_again_it_ends_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = recipe(Finetune(epochs=2), Finetune(epochs=1), kinds=("leave_one_out",))
    model = {"model": {"kind": "yaml", "path": str(tmp_path / "net.yaml")}}
    (tmp_path / "net.yaml").write_text(TINY_FILE)
    plain = Recipe.model_validate({**plain.canonical(), **model})
    (tmp_path / "recipe.yaml").write_text(plain.to_yaml())
    command = [sys.executable, str(TESTS / "hurry.py"), "ablate", "recipe.yaml"]
    env = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    child = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    while len(list((tmp_path / "runs/.store/nets").glob("*.pt"))) < 2:  # amidst the first variant
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()

    child = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("variant 1 of 3"):
            child.send_signal(signal.SIGINT)
            break
    said = child.stdout.read()
    assert child.wait() == 130
    assert "not complete: interrupted after 1 of 3 variants; the same command goes on from here" in said
    part = json.loads((tmp_path / "runs/planted-ablation/ablation.json").read_text())
    assert [v["name"] for v in part["variants"]] == ["full"]

    monkeypatch.chdir(tmp_path)
    assert main(["ablate", "recipe.yaml"]) == 0
    assert "stage runs: 7 asked, 4 done" in capsys.readouterr().out
    found = json.loads((tmp_path / "runs/planted-ablation/ablation.json").read_text())
    whole = ablate(plain, store=Store(tmp_path / "fresh"), log=quiet)
    for one, other in zip(found["variants"], content(whole)["variants"], strict=True):
        same = ("name", "f1_val", "f1_test", "score_val", "score_test")  # by MACs: the clock is not in it
        assert [one[k] for k in same] == [other[k] for k in same]
        assert [s["key"] for s in one["steps"]] == [s["key"] for s in other["steps"]]
    for one, other in zip(found["effects"], content(whole)["effects"], strict=True):
        assert {k: v for k, v in one.items() if k != "time"} == {
            k: v for k, v in other.items() if k != "time"
        }


def test_the_command_line_lists_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "r.yaml"
    file.write_text(recipe(Finetune(epochs=1), Finetune(epochs=2), seeds=2).to_yaml())
    assert main(["ablate", "r.yaml", "--dry-run", "--max-variants", "5"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "full, seed 0: full"
    assert said[1] == "leave_one_out, only_one, seed 0: without finetune"
    assert said[-1].startswith(
        "5 variants, 13 stage runs if each ran alone; shared beginnings leave at most 8"
    )
    assert not (tmp_path / "runs/planted-ablation").exists()
    assert main(["ablate", "r.yaml", "--max-variants", "0"]) == 2
    assert "ablation.max_variants=0: ablation.max_variants: found 0" in capsys.readouterr().err
