"""What a study leaves in its folder, and what can be done with that."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import fast_objective
import pytest
from fast_objective import study_spec

from compress import folders
from compress.errors import CompressError, InputError
from compress.models.zoo import SearchModel
from compress.recipe import Recipe
from search import command, figures, outputs
from search.conduct import conduct
from search.folder import StudyFolder
from search.joint import suggest_values
from search.records import BASE, Record
from search.spec import StudySpec
from search.storage import open_study


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_DIARY", str(tmp_path / "diary"))
    return tmp_path


def joint(spec: StudySpec, log: object, note: object) -> fast_objective.Fast:
    """With the values that are searched beside the net."""

    class Joint(fast_objective.Fast):
        def sample(self, trial: Any) -> Any:
            return replace(super().sample(trial), values=suggest_values(self.spec.search, trial))

    return Joint(spec, Path(os.environ["FAST_DIARY"]))


def left(spec: StudySpec, make: Any = fast_objective.fast) -> Path:
    with StudyFolder.open(spec) as folder:
        conduct(spec, folder, make, folder.log)
    return folder.path


def test_every_file_is_there_and_says_the_same(here: Path) -> None:
    spec = study_spec(trials=8, limits={"ms": 0.6}, metric={"kind": "f1_time", "require": {"f1": 0.3}})
    path = left(spec)
    study = open_study(spec, path)
    records = [Record.of_trial(trial) for trial in study.trials]
    rows = list(csv.DictReader((path / "trials.csv").open()))
    assert [int(row["number"]) for row in rows] == [r.number for r in records]
    assert {row["outcome"] for row in rows} >= {"evaluated"}
    for record in records:
        assert record.candidate is not None
        text = (path / "trials" / f"{record.number}.yaml").read_text()
        assert record.candidate.to_yaml() in text

    found = json.loads((path / "pareto.json").read_text())
    assert found["baseline"] == study.user_attrs[BASE]
    assert sum(found["outcomes"].values()) == len(records)
    feasible = [t for t in study.best_trials if t.state.name == "COMPLETE"]  # by Optuna's own reckoning
    twins = {r.number for r in records if r.outcome == "duplicate"}
    assert {point["number"] for point in found["front"]} == {t.number for t in feasible} - twins
    best = min((r for r in records if r.outcome == "evaluated"), key=lambda r: r.measured["score"])
    assert found["best"]["score"]["number"] == best.number
    for name in ("score", "knee", "constraint"):
        text = (path / f"best-{name}.yaml").read_text()
        assert text.startswith(f"# trial {found['best'][name]['number']} of the study fast: F1 ")


def test_beside_the_objectives_own_front_is_that_of_f1_and_time() -> None:
    measured = [(0.7, 2.0), (0.8, 3.0), (0.6, 2.5), (0.5, 1.0)]  # of which the third is beaten
    costs = {"params": 1.0, "macs": 1.0}
    records = [
        Record(i, "COMPLETE", "evaluated", None, None, {"f1": f1, "ms": ms, "score": 1 - f1, **costs})
        for i, (f1, ms) in enumerate(measured)
    ]
    for objectives, front in ((["f1"], [1]), (["score"], [1]), (["f1", "ms"], [1, 0, 3])):
        found = outputs.summary(study_spec(objectives=objectives), records, {})
        assert [point["number"] for point in found["front"]] == front
        assert [point["number"] for point in found["front_f1_ms"]] == [1, 0, 3]


def test_a_recipe_goes_on_from_the_best(here: Path) -> None:
    path = left(study_spec(trials=3))
    recipe = Recipe.from_yaml(path / "recipe.yaml")
    assert recipe.model.canonical() == {"kind": "yaml", "path": str(path / "best-score.yaml")}
    assert [stage.kind for stage in recipe.stages] == ["prune", "decompose", "distill", "quantize"]
    found = SearchModel(run=path)
    labels = tuple("abcdefghij")
    one, other = found.build(labels, 32), recipe.model.build(labels, 32)
    assert str(one.module) == str(other.module)
    assert Recipe(name="x", model={"kind": "search", "run": path, "best": "knee"}).check() == []


def test_what_was_drawn_beside_the_net_is_told_with_it(here: Path) -> None:
    """And each best has a recipe, with the values that belong to it."""
    low_high = {"low": 0.2, "high": 0.8}
    spec = study_spec(trials=6, stages=[{"kind": "prune"}], search={"stages[0].target": low_high})
    path = left(spec, joint)
    found = json.loads((path / "pareto.json").read_text())
    rows = {int(row["number"]): row for row in csv.DictReader((path / "trials.csv").open())}
    files = {"score": "recipe.yaml", "knee": "recipe-knee.yaml"}
    assert {file.name for file in path.glob("recipe*.yaml")} == set(files.values())
    targets = {}
    for point in [*found["front"], *found["best"].values()]:
        targets[point["number"]] = target = point["drawn"]["stages[0].target"]
        assert point["drawn"]["data.image_size"] == 32
        assert rows[point["number"]]["stages[0].target"] == str(target)
        assert rows[point["number"]]["feasible"] == "True"
        text = (path / point["file"]).read_text()
        assert f"\n# drawn with it: data.image_size 32, stages[0].target {target}\n" in text
    assert len(targets) > 1
    for rule, file in files.items():
        best, recipe = found["best"][rule], Recipe.from_yaml(path / file)
        assert recipe.stages[0].canonical()["target"] == targets[best["number"]]
        assert recipe.model.canonical()["path"] == str(path / f"best-{rule}.yaml")
        assert "after its stages" in (path / file).read_text()
    assert Recipe.from_yaml(path / "recipe.yaml").name != Recipe.from_yaml(path / "recipe-knee.yaml").name


def test_what_is_beyond_its_limits_as_measured_is_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Slower(fast_objective.Fast):
        """Than was predicted."""

        def evaluate(self, candidate: Any) -> dict[str, float]:
            return {**super().evaluate(candidate), "ms": 9.0}

    def slower(spec: StudySpec, log: object, note: object) -> Any:
        return Slower(spec, here / "diary")

    monkeypatch.setattr("search.command.objective_of", slower)
    with pytest.raises(CompressError, match="all 3 evaluated candidates are beyond the limits as measured"):
        command.run(study_spec(trials=3, limits={"ms": 5.0}))
    out = capfd.readouterr().out
    assert out.count("beyond its limits as measured: ms 9 > 5") == 3
    assert "3 of the evaluated are beyond the limits as measured: on no front" in out


class Whole(fast_objective.Fast):
    """Timed from photo to label, too."""

    def baseline_values(self) -> dict[str, float]:
        return {**super().baseline_values(), "time_ms": 7.25}

    def evaluate(self, candidate: Any) -> dict[str, float]:
        found = super().evaluate(candidate)
        return {**found, "time_ms": found["ms"] + 6}


def test_the_time_that_the_score_counts_is_told_beside_the_models(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("search.command.objective_of", lambda spec, *given: Whole(spec, here / "diary"))
    command.run(study_spec(trials=3, metric={"kind": "f1_time", "time": "end_to_end"}))
    told, path = capfd.readouterr().out, here / "runs/fast"
    assert "photo to label" in told
    assert re.search(r"baseline\W+0\.500\W+1\.000\W+7\.250\W", told)
    found = json.loads((path / "pareto.json").read_text())
    rows = {int(row["number"]): row for row in csv.DictReader((path / "trials.csv").open())}
    best = found["best"]["score"]
    for point in [*found["front"], *found["front_f1_ms"], best]:
        assert point["time_ms"] == point["ms"] + 6 == float(rows[point["number"]]["time_ms"])
    whole = f", {best['ms']:.4f} ms, {best['time_ms']:.4f} ms from photo to label, score "
    for name in ("best-score.yaml", "recipe.yaml"):
        assert whole in (path / name).read_text().splitlines()[0]

    monkeypatch.setattr("search.command.objective_of", fast_objective.fast)
    command.run(study_spec(trials=3))
    assert "photo to label" not in capfd.readouterr().out + (path / "recipe.yaml").read_text()
    assert "time_ms" not in (path / "pareto.json").read_text()


def test_a_model_that_no_study_has_left_yet(here: Path) -> None:
    (here / "empty").mkdir()
    (here / "run").mkdir()
    (here / "run/steps.jsonl").touch()
    (line,) = SearchModel(run=Path("run")).check()
    assert "a run of compress, not a study; its final net is model: {kind: checkpoint, path: run}" in line
    assert SearchModel(run=Path("nosuch")).check() == [
        "nosuch: no such folder; python -m search STUDY.yaml makes it"
    ]
    with pytest.raises(InputError, match=r"no best-score\.yaml"):
        SearchModel(run=Path("empty")).build(("a", "b"), 32)


def test_a_net_is_built_at_the_size_it_was_found_for(here: Path) -> None:
    path = left(study_spec(trials=1))
    with pytest.raises(InputError, match=r"found 64, but .*best-score\.yaml was found at 32: set "):
        SearchModel(run=path).build(("a", "b"), 64)


def test_figures_show_front_and_baseline(here: Path) -> None:
    spec = study_spec(trials=6, objectives=["f1", "params"])
    path = left(spec)
    study = open_study(spec, path)
    figures.write(path, spec, study, [Record.of_trial(trial) for trial in study.trials])
    files = {file.name for file in (path / "figures").iterdir()}
    assert {"f1-params.svg", "f1-ms.png", "optuna-front.png", "optuna-history-f1.png"} <= files
    found = json.loads((path / "pareto.json").read_text())
    for cost, front in (("params", "front"), ("ms", "front_f1_ms")):  # time whatever the objectives are
        svg = (path / f"figures/f1-{cost}.svg").read_text()
        for point in found[front]:
            assert f"trial {point['number']}: F1 {point['f1']:.3f}" in svg
        assert "baseline: F1 0.500" in svg


def test_another_study_of_that_name_moves_aside_and_more_trials_do_not(here: Path) -> None:
    path = left(study_spec(trials=2))
    left(study_spec(trials=3))
    assert not (here / "runs/fast.1").exists()
    assert len(list((path / "trials").iterdir())) >= 3
    left(study_spec(trials=2, seed=1))
    assert (here / "runs/fast.1/study.db").is_file()
    with StudyFolder.open(study_spec()), pytest.raises(InputError, match="going on"):
        left(study_spec())


@pytest.mark.parametrize("storage", ["sqlite", "journal", "sqlite:///runs/fast/own.db"])
def test_a_study_that_was_moved_aside_goes_on_where_it_was(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], storage: str
) -> None:
    """As after a command that was refused, whose study is then the one that is moved."""
    monkeypatch.setattr("search.command.objective_of", fast_objective.fast)
    command.run(spec := study_spec(trials=2, storage=storage))
    with StudyFolder.open(study_spec(seed=1, storage=storage)) as other:
        assert other.moved == Path("runs/fast.1")
        assert other.back is None
        assert "path: runs/fast.1/best-score.yaml" in Path("runs/fast.1/recipe.yaml").read_text()
    capfd.readouterr()
    command.run(spec)
    told = capfd.readouterr().out.splitlines()
    assert told[:2] == [
        "what another study or run of that name left is now runs/fast.2",
        "this study goes on with what it left in runs/fast.1, which is runs/fast again",
    ]
    assert not [line for line in told if line.startswith("trial ")]
    assert not (here / "runs/fast.1").exists()
    assert "path: runs/fast/best-score.yaml" in Path("runs/fast/recipe.yaml").read_text()
    assert len(open_study(spec, Path("runs/fast")).trials) == 2

    with StudyFolder.open(study_spec(seed=1, storage=storage)) as other:  # and the other way round
        assert (other.moved, other.back) == (Path("runs/fast.1"), Path("runs/fast.2"))
    with folders.held(Path("runs/fast.1")), pytest.raises(InputError, match=r"runs/fast\.1: another run"):
        command.run(spec)
    assert (here / "runs/fast").is_dir()

    Path("runs/fast").rename("runs/fast.3")  # killed before the other was moved back
    with StudyFolder.open(spec) as same:
        assert (same.moved, same.back) == (None, Path("runs/fast.1"))


def test_trials_that_are_gone_leave_no_nets_behind(here: Path) -> None:
    """Nor does a fine-tuned one, beside another best."""
    spec = study_spec(trials=2, storage="journal")
    path = left(spec)
    for number in range(9):
        (path / f"trials/{number}.yaml").write_text("another net")
    (path / "best-score.pt").write_bytes(b"another net")
    (path / "journal.log").unlink()
    left(spec)
    texts = [file.read_text() for file in (path / "trials").iterdir()]
    assert len(texts) == len(open_study(spec, path).trials)
    assert "another net" not in texts
    assert not (path / "best-score.pt").exists()


def test_two_workers_share_the_trials(here: Path) -> None:
    spec = study_spec(trials=16, workers=2)
    path = left(spec)
    study = open_study(spec, path)
    assert sum(key.startswith("clock.") for key in study.user_attrs) == 3  # the baseline's and each worker's
    trials = study.trials
    outcomes = [Record.of_trial(trial).outcome for trial in trials]
    assert outcomes.count("evaluated") == 16  # no trial is asked for while those in work may be the last
    assert set(outcomes) <= {"evaluated", "duplicate"}
    keys = [trial.user_attrs["key"] for trial in trials if trial.user_attrs["outcome"] == "evaluated"]
    assert len(set(keys)) == len(keys)
    assert json.loads((path / "pareto.json").read_text())["outcomes"]["evaluated"] == 16


def test_what_a_worker_finds_wrong_is_told(here: Path) -> None:
    with pytest.raises(InputError, match="the loss became NaN"):
        left(study_spec(trials=4, workers=2), fast_objective.broken)


def test_all_failing_leaves_no_best(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def failing(spec: StudySpec, log: object, note: object) -> Any:
        return fast_objective.Raising(spec, here / "diary")

    monkeypatch.setattr("search.command.objective_of", failing)
    with pytest.raises(CompressError):
        command.run(study_spec(trials=3))
    assert capfd.readouterr().out.splitlines()[-1] == "runs/fast/: pareto.json, trials.csv, trials/"
    assert not list((here / "runs/fast").glob("best-*"))
    assert json.loads((here / "runs/fast/pareto.json").read_text())["front"] == []


def test_a_worker_that_outlives_its_study_writes_into_no_other(here: Path) -> None:
    """As after `kill -9` of its parent, and the next command with another file of that name."""

    class Left(fast_objective.Fast):
        def evaluate(self, candidate: Any) -> dict[str, float]:
            with StudyFolder.open(study_spec(seed=1)):
                return super().evaluate(candidate)

    spec = study_spec(trials=1, storage=f"sqlite:///{here}/own.db")
    with StudyFolder.open(spec) as folder:
        pass  # whoever was killed holds it no longer
    conduct(spec, folder, lambda *given: Left(spec, here / "diary"), lambda line: None)
    assert [Record.of_trial(trial).outcome for trial in open_study(spec, folder.path).trials] == ["evaluated"]
    assert [file.name for file in folder.path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_the_dashboard_shows_it(here: Path, storage: str) -> None:
    pytest.importorskip("optuna_dashboard")
    path = left(study_spec(trials=3, storage=storage))
    where = {"sqlite": f"sqlite:///{path}/study.db", "journal": str(path / "journal.log")}[storage]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sysconfig.get_path("scripts")) / "optuna-dashboard"
    command = [program, where, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        studies = _get(port, "/api/studies")["study_summaries"]
        assert [study["study_name"] for study in studies] == ["fast"]
        detail = _get(port, f"/api/studies/{studies[0]['study_id']}?after=0")
        assert [trial["state"] for trial in detail["trials"]] == ["Complete"] * 3
        assert detail["directions"] == ["maximize", "minimize"]
        key = {attr["key"] for attr in detail["trials"][0]["user_attrs"]}
        assert {"outcome", "params", "score"} <= key
    finally:
        server.kill()
        server.wait()


def _get(port: int, path: str) -> Any:
    """As soon as the server answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
