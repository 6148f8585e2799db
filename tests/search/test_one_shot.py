"""``--one-shot``: a supernet on digits, from training to the fine-tuned net; kills and mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fast_objective import Fast, loop, study_spec
from tinynet import DIGITS, TINY_FILE, digits, same, tiny_net

from compress import Recipe
from compress.__main__ import main as compress
from compress.data.images import ImageSet
from compress.errors import CompressError, InputError
from compress.store import Store
from search import command, finals
from search.__main__ import main
from search.candidate import Candidate
from search.choose import choices
from search.one_shot import OneShot
from search.records import front
from search.spec import OneShotSpec, StudySpec, as_one_shot
from search.storage import open_study

STUDY = """
name: shared
data: {kind: digits, image_size: 16}
baseline: {kind: yaml, path: net.yaml}
train: {epochs: 2, batch_size: 64, augment: {kind: none}}
runtime: {kind: onnxruntime}
sampler: {kind: random}
trials: 3
one_shot: {epochs: 12, subnets: 1, finalists: 1, finetune: 6}
space:
  image_size: 16
  slots:
    - blocks: [{kind: Conv, channels: [16, 24], kernel: [3, 5], stride: 2}]
    - blocks:
        - {kind: Conv, channels: [16, 32], stride: 2}
        - {kind: InvertedResidualv2, channels: [16, 32], stride: 2}
  head: {channels: 32}
"""


@pytest.mark.usefixtures("in_a_hurry")
def test_a_study_on_digits_ends_with_a_net_that_goes_through_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEYONDNAS_STORE", str(tmp_path / "store"))
    Path("study.yaml").write_text(STUDY)
    Path("net.yaml").write_text(TINY_FILE)
    command = ["study.yaml"]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "training a supernet of" in first
    assert "with shared weights" in first
    records = finals.records_of(open_study(StudySpec.from_yaml("study.yaml"), Path("runs/shared")))
    (best,) = [record for record in records if record.shared]
    # Shared weights tell digits apart (one in ten by chance), fine-tuning adds to it
    assert 0.3 < best.shared["f1"] < best.measured["f1"]

    recipe = Recipe.from_yaml("runs/shared/recipe.yaml")
    assert recipe.model.kind == "checkpoint"
    assert recipe.train.epochs == 0
    assert compress(["runs/shared/recipe.yaml", "--set", "stages=[]", "--set", "name=chain"]) == 0
    score = yaml.safe_load(Path("runs/chain/report.json").read_text())["final"]
    assert score["f1_val"] == pytest.approx(best.measured["f1"])  # the very net that was measured

    assert main(command) == 0  # again: everything is known
    again = capsys.readouterr().out
    assert "training a supernet" not in again
    assert "finalist" not in again


@pytest.mark.usefixtures("in_a_hurry")
def test_a_study_that_goes_on_after_an_upgrade_keeps_its_supernet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that share other weights would be ranked beside the first ones."""
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(STUDY)
    Path("net.yaml").write_text(TINY_FILE)
    spec = StudySpec.from_yaml("study.yaml", ["train.epochs=1", "one_shot.epochs=1"])
    said = list[str]()

    def process(store: str = "store") -> OneShot:
        said.clear()
        return OneShot(spec, Store(store), said.append, said.append)

    first = process()
    base = first.baseline_values()
    monkeypatch.setattr("search.one_shot.versions", lambda: {"torch": "of tomorrow"})
    later = process()
    later.take_up(base)
    assert same(later.supernet.state_dict(), first.supernet.state_dict())
    assert "one-shot: on with the supernet that the study began with; another would be trained now" in said
    assert not [line for line in said if "training a supernet" in line]
    lost = "no longer in elsewhere, and this version would train another; put it back, or begin another study"
    with pytest.raises(InputError, match=lost):
        process("elsewhere").take_up(base)

    older = process()  # a study of an earlier version
    older.take_up({name: value for name, value in base.items() if name != "supernet"})
    _ = older.supernet
    assert [line for line in said if "training a supernet" in line]


class _ClassByClass(OneShot):
    """Train images as folders have them, each as bright as its class says."""

    def _train_images(self, size: int) -> ImageSet:
        data = digits(0, 200)
        data = data.take(np.argsort(data.targets, kind="stable"))
        labels = np.zeros_like(data.images) + data.targets.astype(np.uint8)[:, None, None, None]
        return replace(data, images=labels)


def test_statistics_of_a_subnet_are_taken_over_batches_of_all_classes(tmp_path: Path) -> None:
    batches = _ClassByClass(study_spec(one_shot={}), Store(tmp_path))._batches(DIGITS)
    assert [len(batch) for batch in batches] == [50, 50, 50, 50]
    assert all(len(batch.unique()) == 10 for batch in batches)


class _Finishing(Fast):
    """Shared weights rank upside down; ``fails_after`` so many finalists, as by a kill."""

    fails_after = 99
    error: type[BaseException] = KeyboardInterrupt
    slower = 1.0  # times what was expected

    def finish(self, candidate: Candidate) -> dict[str, float]:
        self.finishes = getattr(self, "finishes", 0) + 1
        if self.finishes > self.fails_after:
            raise self.error("the loss became NaN")
        found = self.evaluate(candidate)
        ms = self.slower * found["ms"]
        return {**found, "f1": 1 - found["f1"] / 2, "score": 3 - found["score"], "ms": ms}

    def finished(self, candidate: Candidate) -> Any:
        return tiny_net()


def test_finalists_are_fine_tuned_once_and_decide(tmp_path: Path) -> None:
    spec = study_spec(one_shot={"finalists": 4}, trials=12)
    objective = _Finishing(spec, tmp_path / "diary")
    once = loop(spec, tmp_path, objective)
    once.run()
    objective.fails_after = 2
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        finals.finish(spec, once.study, objective, tmp_path, lines.append)
    objective.fails_after = 99
    finals.finish(spec, once.study, objective, tmp_path, lines.append)
    assert len(lines) == 4
    assert objective.finishes == 5
    records = finals.records_of(once.study)
    tuned = [record for record in records if record.shared]
    assert len(tuned) == 4
    assert (tmp_path / "best-score.pt").exists()
    assert choices(spec, records)["score"].number == min(tuned, key=lambda r: r.measured["score"]).number
    assert {record.number for record in front(records, {"f1": "maximize"})} <= {r.number for r in tuned}


def test_the_net_that_was_measured_is_not_replaced_unless_it_is_of_another_finalist(tmp_path: Path) -> None:
    """As after an upgrade, when neither the supernet nor the finalist would be found in the store."""
    spec = study_spec(one_shot={"finalists": 2}, trials=6)
    objective, made = _Finishing(spec, tmp_path / "diary"), list[str]()
    objective.finished = lambda candidate: (made.append(candidate.key), tiny_net())[1]  # type: ignore[method-assign]
    once = loop(spec, tmp_path, objective)
    once.run()

    def finish(finalists: int) -> list[str]:
        made.clear()
        more = spec.model_copy(update={"one_shot": OneShotSpec(finalists=finalists)})
        finals.finish(more, once.study, objective, tmp_path, lambda line: None)
        return list(made)

    assert finish(2) == [choices(spec, finals.records_of(once.study))["score"].key]
    assert finish(2) == []
    assert len(finish(6)) == 1  # each new finalist removes it
    file = tmp_path / "best-score.pt"
    content = file.read_bytes()
    file.write_bytes(b"of an earlier best, which another folder of the study left here")
    assert len(finish(6)) == 1
    assert file.read_bytes() == content
    noted = once.study.user_attrs["finals"]
    for one in noted.values():  # as an earlier version left it
        one.pop("file", None)
    once.study.set_user_attr("finals", noted)
    assert finish(6) == []
    file.unlink()
    assert len(finish(6)) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CompressError, "the loss"),
        (RuntimeError, "RuntimeError: the loss"),
        (ValueError, "ValueError: the loss"),
    ],
)
def test_a_finalist_that_fails_is_left_out_until_the_next_call(
    tmp_path: Path, error: type[Exception], told: str
) -> None:
    """Whatever it raised; whose traceback is for the log file."""
    spec = study_spec(one_shot={"finalists": 3}, trials=4)
    objective, lines, noted = _Finishing(spec, tmp_path / "diary"), list[str](), list[str]()
    once = loop(spec, tmp_path, objective)
    once.run()
    objective.fails_after, objective.error = 1, error
    finals.finish(spec, once.study, objective, tmp_path, lines.append, noted.append)
    assert [f": failed: {told} became NaN" in line for line in lines] == [False, True, True]
    assert [text.startswith("Traceback") for text in noted] == [True, True] * (error is not CompressError)
    assert choices(spec, finals.records_of(once.study))["score"].shared
    objective.fails_after = 99
    finals.finish(spec, once.study, objective, tmp_path, lines.append)
    assert sum(bool(record.shared) for record in finals.records_of(once.study)) == 3


@pytest.mark.parametrize("slower", [1.5, 99.0])
def test_a_finalist_whose_measured_time_is_beyond_the_limits_is_no_choice(
    tmp_path: Path, slower: float
) -> None:
    spec = study_spec(one_shot={"finalists": 6}, trials=6, limits={"ms": 0.3})
    objective = _Finishing(spec, tmp_path / "diary")
    once = loop(spec, tmp_path, objective)
    once.run()
    (tmp_path / "best-score.pt").touch()  # of fewer trials
    objective.slower, lines = slower, list[str]()
    finals.finish(spec, once.study, objective, tmp_path, lines.append)
    tuned = [record for record in finals.records_of(once.study) if record.shared]
    assert [record.measured["ms"] <= 0.3 for record in tuned] == [record.feasible for record in tuned]
    assert sum("beyond the limits" in line for line in lines) == sum(not r.feasible for r in tuned) > 0
    fine = [record for record in tuned if record.feasible]
    assert bool(fine) == (slower < 2) == (tmp_path / "best-score.pt").exists()
    best = choices(spec, finals.records_of(once.study)).get("score")
    assert best in fine or (best is None and not fine)


class _SomeSlower(_Finishing):
    """Than was expected: those that are ``slow``."""

    slow: frozenset[str] = frozenset()

    def finish(self, candidate: Candidate) -> dict[str, float]:
        self.slower = 99.0 if candidate.key in self.slow else 1.0
        return super().finish(candidate)


def test_finalists_beyond_the_limits_make_room_for_the_next(tmp_path: Path) -> None:
    spec = study_spec(one_shot={"finalists": 2}, trials=8, limits={"ms": 0.3})
    objective, lines = _SomeSlower(spec, tmp_path / "diary"), list[str]()
    once = loop(spec, tmp_path, objective)
    once.run()
    order = finals.ranked(spec, finals.records_of(once.study))
    objective.slow = frozenset(str(record.key) for record in order[:3])
    for _ in range(2):  # the second knows all of them
        finals.finish(spec, once.study, objective, tmp_path, lines.append)
    assert objective.finishes == len(lines) == 5
    tuned = {record.number: record.feasible for record in finals.records_of(once.study) if record.shared}
    assert tuned == {record.number: record.key not in objective.slow for record in order[:5]}
    assert (tmp_path / "best-score.pt").exists()
    assert choices(spec, finals.records_of(once.study))["score"].feasible


@pytest.mark.parametrize("objectives", [["f1"], ["score"]])
def test_one_objective_has_as_many_finalists(tmp_path: Path, objectives: list[str]) -> None:
    """Although its front is one net."""
    spec = study_spec(one_shot={"finalists": 5}, trials=8, objectives=objectives)
    objective = _Finishing(spec, tmp_path / "diary")
    once = loop(spec, tmp_path, objective)
    once.run()
    finals.finish(spec, once.study, objective, tmp_path, lambda line: None)
    assert objective.finishes == 5


def test_when_no_finalist_can_be_fine_tuned_it_is_said(tmp_path: Path) -> None:
    spec = study_spec(one_shot={"finalists": 2}, trials=4)
    objective, lines = _Finishing(spec, tmp_path / "diary"), list[str]()
    objective.fails_after, objective.error = 0, CompressError
    once = loop(spec, tmp_path, objective)
    once.run()
    finals.finish(spec, once.study, objective, tmp_path, lines.append)
    assert lines[2:] == [
        "no finalist could be fine-tuned: which nets are best is by their shared weights alone"
    ]


def test_no_net_is_best_where_all_finalists_are_beyond_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that failed before it was fine-tuned, and so is not known to be beyond them."""
    monkeypatch.chdir(tmp_path)
    spec = study_spec(one_shot={"finalists": 1}, trials=4, limits={"ms": 0.3})
    objective = _Finishing(spec, tmp_path / "diary")
    objective.slower, objective.fails_after, objective.error = 99.0, 3, CompressError
    monkeypatch.setattr("search.command.objective_of", lambda spec, log, note: objective)
    with pytest.raises(CompressError, match="all 3 fine-tuned finalists are beyond the limits as measured"):
        command.run(spec)
    assert not list((tmp_path / "runs/fast").glob("best-*"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("proxies", {"kind": "synflow"}),
        ("fidelity", {"epochs": [2, 60]}),
        ("stages", [{"kind": "quantize"}]),
        ("search", {"train.lr": [0.1, 0.2]}),
    ],
)
def test_what_would_train_candidates_is_refused_beside_it(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"(?s){key}.*cannot stand beside one_shot"):
        study_spec(one_shot={}, **{key: value})


def test_the_flag_takes_the_place_of_proxies_and_short_trainings() -> None:
    spec = study_spec(proxies={"kind": "synflow"}, fidelity={"epochs": [2, 60]})
    found = as_one_shot(spec)
    assert found.one_shot is not None
    assert found.proxies is None
    assert found.fidelity is None
    assert found.name == "fast-one-shot"
    assert as_one_shot(found) == found
    with pytest.raises(InputError, match=r"--one-shot: .*stages"):
        as_one_shot(study_spec(stages=[{"kind": "quantize"}]))
