"""``python -m search`` from the command line: a real study, mistakes, and Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from compress import yamlio
from compress.recipe import Recipe
from search.__main__ import main
from search.records import RUNGS
from search.spec import StudySpec
from search.storage import open_study

pytestmark = pytest.mark.usefixtures("in_a_hurry")

ROOT = Path(__file__).resolve().parents[2]
QUICK = ROOT / "recipes/spaces/quickstart.yaml"
RECIPE = ROOT / "recipes/quickstart.yaml"
FEW = ["runtime={kind: onnxruntime}", f"baseline.path={ROOT}/recipes/models/digits.yaml"]
FEW += ["data.image_size=16", "space.image_size=16", "space.total_stride.least=4"]
SET = [part for one in FEW for part in ("--set", one)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder and so one store for all: the baseline is trained once."""
    return tmp_path_factory.mktemp("search")


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def cheap(here: Path) -> Path:
    """A study on digits that takes every short cut."""
    study = yamlio.read(QUICK)
    study |= {
        "name": "cheap",
        "train": {**study["train"], "epochs": 2},
        "objectives": ["score"],
        "limits": {"params": 1e6},
        "proxies": {"kind": "naswot", "candidates": 2},
        "fidelity": {"epochs": [1, 2], "keep": 0.5},
        "stages": [{"kind": "quantize", "mode": "static", "samples": 16}],
        "search": {"stages[0].method": ["minmax", "percentile"]},
        "storage": "journal",
        "trials": 1,
    }
    file = here / "study.yaml"
    file.write_text(yamlio.dump(study))
    return file


def test_the_help_is_instant_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; from search.__main__ import main; main(['--help']);"
        "print(time.process_time(), [m for m in ('torch', 'optuna', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    last = done.stdout.splitlines()[-1]
    assert float(last.split()[0]) < 1.0
    assert last.endswith("[]")
    assert "--trials" in done.stdout


def test_reading_a_study_loads_no_torch() -> None:
    code = (
        "import sys; from search.spec import StudySpec;"
        "StudySpec.from_yaml('recipes/spaces/quickstart.yaml');"
        "print([m for m in ('torch', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.timeout(300)
def test_a_study_on_digits_and_the_same_command_again(
    here: Path, cheap: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(cheap), *SET]) == 0
    out, _ = capfd.readouterr()
    assert "after 1 epochs F1 val" in out
    assert re.search(r"^trial \d+ \(1 of 1\): F1 val 0\.\d+, 0\.\d+ ms, ", out, re.MULTILINE)
    assert "rank correlation 1 epochs to 2: unknown (n = 1)" in out
    assert re.search(r"^times are in onnxruntime(, which auto chose for the baseline)?$", out, re.MULTILINE)
    path = here / "runs/cheap"
    for name in ("recipe.yaml", "best-score.yaml", "best-knee.yaml", "pareto.json", "figures/f1-ms.svg"):
        assert (path / name).is_file()
    assert (
        "\nruns/cheap/: recipe.yaml, recipe-*.yaml, best-*.yaml, pareto.json, trials.csv, trials/, figures/\n"
        in out
    )
    assert re.search(r"^  quantize: (kept|not kept), ", out, re.MULTILINE)
    (stage,) = Recipe.from_yaml(path / "recipe.yaml").stages

    trials = open_study(StudySpec.from_yaml(cheap, FEW), path).trials
    outcomes = [trial.user_attrs["outcome"] for trial in trials]
    assert sorted(outcomes) == ["evaluated", "outranked"]
    trial = trials[outcomes.index("evaluated")]
    assert trial.values == [trial.user_attrs["score"]]
    assert trial.params["stages[0].method"] == stage.canonical()["method"]
    assert set(trial.constraints) == {"params"}
    assert trial.user_attrs[RUNGS]["1"]["ms"] > 0

    before = (path / "trials.csv").read_text()
    assert main([str(cheap), *SET]) == 0
    again, _ = capfd.readouterr()
    assert not re.search(r"^trial ", again, re.MULTILINE)
    assert (path / "trials.csv").read_text() == before


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([str(RECIPE)], f"{RECIPE}: a recipe; run it with python -m compress {RECIPE}"),
        (["nosuch.yaml"], "nosuch.yaml: no such file"),
        ([str(QUICK), "--set", "trials=none"], "--set trials=none: trials: found 'none'"),
        ([str(QUICK), "--set", "sampler.kind=grid"], "unknown kind, found 'grid'"),
        ([str(QUICK), "--trials", "0"], "Invalid value for '--trials': "),
        ([str(QUICK), "--nosuch"], "No such option"),
        ([str(QUICK), *SET, "--set", "storage=nosuch://x/y"], "storage: nosuch://x/y"),
    ],
)
def test_mistakes_take_one_line(
    here: Path, argv: list[str], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    _, err = capfd.readouterr()
    assert text in err
    assert "Traceback" not in err


def test_ctrl_c_says_how_to_go_on(here: Path, cheap: Path, capfd: pytest.CaptureFixture[str]) -> None:
    claim = here / "runs/stopped/claims/0.lock"

    def press() -> None:
        while not claim.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    assert main([str(cheap), *SET, "--set", "name=stopped", "--trials", "3"]) == 130
    assert "goes on from here" in capfd.readouterr().err
