"""The leaderboard: seeds together, ties said, and no comparison of what does not compare."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import report

from compress.comparable import Estimate
from compress.compare import _tied, compare
from compress.errors import InputError
from compress.recipe import Recipe
from compress.report import compare_page
from compress.stages.prune import Prune

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(name, f1=, score=, seed=, target=, **top)``: a finished run's folder."""

    def build(
        name: str, *, f1: float = 0.8, score: float = 0.75, seed: int = 0, target: float = 0.5, **top: Any
    ) -> Path:
        recipe = Recipe(name=name, seed=seed, stages=(Prune(target=target),)).canonical()
        content = report(recipe=recipe, **top)
        final = {"f1_val": f1, "f1_test": f1 - 0.01, "score_val": score, "score_test": score + 0.02}
        final |= {"f1_val_interval": [f1 - 0.03, f1 + 0.03], "f1_test_interval": [f1 - 0.04, f1 + 0.02]}
        content["final"] = {**content["final"], **final, "score_test_interval": [score - 0.05, score + 0.09]}
        folder = tmp_path / name
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(content))
        return folder

    return build


def test_seeds_of_one_recipe_are_one_entry_with_its_mean_and_interval(make: Make) -> None:
    scores = (0.70, 0.76, 0.73)
    runs = [make(f"a{i}", seed=i, score=s) for i, s in enumerate(scores)]
    runs.append(make("b", target=0.3, score=1.2, f1=0.5))
    board = compare(runs)
    first, second = board.entries
    assert (first.seeds, first.runs) == ((0, 1, 2), tuple(map(str, runs[:3])))
    assert first.score_val is not None
    mean = sum(scores) / 3
    spread = math.sqrt(sum((s - mean) ** 2 for s in scores) / 2)
    assert first.score_val.mean == pytest.approx(mean)
    assert first.score_val.high - mean == pytest.approx(4.302653 * spread / math.sqrt(3))  # t at 2 degrees
    assert (first.rank, second.rank) == (1, 2)
    assert (first.differs, second.differs) == ({"stages[0].target": 0.5}, {"stages[0].target": 0.3})
    assert first.kept == ("prune",)
    notes = " ".join(board.notes)
    assert "over seeds" in notes
    assert "single run" in notes


def test_runs_of_other_models_or_data_given_in_python_are_other_entries(make: Make) -> None:
    one, two = ({"model": f"Net {name}"} for name in ("1a2b3c4d", "5e6f7a8b"))
    runs = [make("a0", given=one), make("a1", given=one, seed=1), make("b0", given=two), make("c0")]
    board = compare(runs)
    assert sorted(len(entry.runs) for entry in board.entries) == [1, 1, 2]
    assert not [note for note in board.notes if "left out" in note]
    assert "Net 5e6f7a8b" in {entry.differs["model"] for entry in board.entries if "model" in entry.differs}
    assert any(note.startswith("baselines differ") for note in board.notes)
    assert any("measured at different moments" in note for note in board.notes)


def test_seeds_in_different_runtimes_are_one_entry_that_says_so(make: Make) -> None:
    """As ``runtime: auto`` may choose them; the mean of the times was told as that of the first."""
    kinds = ("onnxruntime", "openvino", "onnxruntime")
    board = compare([make(f"a{i}", seed=i, runtime=kind) for i, kind in enumerate(kinds)])
    (entry,) = board.entries
    assert (entry.seeds, entry.runtime) == ((0, 1, 2), "onnxruntime, openvino")
    assert board.notes[0] == (
        "the seeds of a0 ran in different runtimes (onnxruntime for 0, 2; openvino for 1): its times and "
        "scores are means over these; set runtime.kind for one"
    )
    assert not any("runtimes" in note for note in compare([make("b"), make("c", seed=1)]).notes)


def test_by_f1_more_is_better_and_a_difference_within_the_intervals_is_a_tie(make: Make) -> None:
    runs = [make("low", f1=0.6, target=0.2), make("high", f1=0.8), make("near", f1=0.79, target=0.3)]
    board = compare(runs, by="f1_test")
    assert [(entry.name, entry.rank) for entry in board.entries] == [("high", 1), ("near", 1), ("low", 3)]
    assert [compare_page.place(entry, board.entries) for entry in board.entries] == ["=1", "=1", "3"]


def test_times_of_two_machines_are_refused_in_one_line_and_f1_alone_is_ranked(make: Make) -> None:
    other = {**report()["machine"], "id": "m2", "cpu": "another CPU"}
    runs = [make("here"), make("there", target=0.3, machine=other)]
    for by in ("score_val", "score_test"):
        with pytest.raises(
            InputError, match=r"times of different machines do not compare; .* --by f1"
        ) as caught:
            compare(runs, by=by)
        assert len(caught.value.problems) == 1
        assert "another CPU (m2)" in str(caught.value)
    board = compare(runs, by="f1_val")
    assert all(entry.ms is entry.ratio is entry.score_val is None for entry in board.entries)
    assert "no times are shown" in board.notes[0]
    page = compare_page.render(board)
    assert "fig-f1-time" not in page
    assert "fig-standing" in page


def test_a_metric_without_time_ranks_runs_of_two_machines(make: Make) -> None:
    metric = {"kind": "f1_macs", "f1_base": 0.8366, "macs_base": 13.88e6, "f1_floor": 0.5, "bonus": 0.5}
    other = {**report()["machine"], "id": "m2"}
    runs = [make("a", metric=metric), make("b", target=0.3, score=0.5, metric=metric, machine=other)]
    board = compare(runs)
    assert [entry.name for entry in board.entries] == ["b", "a"]
    assert board.entries[0].ms is None


def test_other_classes_test_photos_or_metrics_do_not_compare(make: Make) -> None:
    one = make("one", test={"photos": 10, "digest": "x"})

    def named(name: str, files: str, **more: Any) -> Path:
        return make(name, test={"photos": 10, "digest": "x", "files": files}, **more)

    final = {**report()["final"], "f1_per_class": {"cat": 0.5}}
    (one.parent / "cats").mkdir()
    (one.parent / "cats/report.json").write_text(json.dumps(report(final=final)))
    with pytest.raises(InputError, match="its classes are cat, those of"):
        compare([one, one.parent / "cats"])
    with pytest.raises(InputError, match="its 11 test photos are not the 10"):
        compare([one, make("two", test={"photos": 11, "digest": "y"})])
    with pytest.raises(InputError, match="its 10 test photos are not the 10"):
        compare([named("a", "x.jpg"), named("b", "y.jpg")])  # the classes in order are the same
    assert len(compare([named("c", "x.jpg"), named("d", "x.jpg", target=0.3)]).entries) == 2
    assert len(compare([one, named("e", "x.jpg", target=0.3)]).entries) == 2  # named no files
    steep = make(
        "steep", metric={"kind": "f1_time", "slope": 5.0}, test=None
    )  # not known: of an earlier version
    with pytest.raises(InputError, match="its metric is not that of"):
        compare([one, steep])
    board = compare([one, steep], by="f1_val")
    assert board.entries[0].score_val is None
    assert "scores do not compare and are left out" in board.notes


def test_against_one_baseline_all_scores_are_taken_anew(make: Make) -> None:
    fast, slow = make("fast"), make("slow", target=0.3, score=0.9)
    content = json.loads((slow / "report.json").read_text())
    for step in (content["baseline"], content["final"]):
        step["base"]["time_ms"] = 4.0
    content["recipe"]["train"]["epochs"] = 7
    (slow / "report.json").write_text(json.dumps(content))
    assert any("--base RUN" in note for note in compare([fast, slow]).notes)
    board = compare([fast, slow], base=fast)
    by_name = {entry.name: entry for entry in board.entries}
    for name, ms in (("fast", 2.0), ("slow", 4.0)):  # ratio 0.4 of its own baseline
        expected = 0.5 * 0.4 * ms / 2.0 + 1 / (1 + math.exp(-20 * (0.8 - 0.8)))
        score = by_name[name].score_val
        assert score is not None
        assert score.mean == pytest.approx(expected)
        assert score.low < score.mean < score.high
    assert any(note.startswith(f"scores are against the baseline of {fast}, ") for note in board.notes)


def test_a_run_given_twice_or_archived_is_counted_once(make: Make) -> None:
    now = make("tiny")
    archived = now.rename(now.with_name("tiny.1"))
    again = make("tiny")
    board = compare([again, again, archived])
    (entry,) = board.entries
    assert entry.runs == (str(again),)
    assert f"{archived} repeats recipe and seed of {again}: left out" in board.notes


def test_reports_of_an_earlier_version_compare_too(make: Make) -> None:
    runs = [make("a"), make("b", target=0.3, score=1.4)]
    for run in runs:
        content = json.loads((run / "report.json").read_text())
        for step in (content["baseline"], content["final"]):
            for key in ("base", "time_ratio", "time_ratio_interval", "confusion_test"):
                del step[key]
        del content["test"], content["shapes"], content["flips"]
        (run / "report.json").write_text(json.dumps(content))
    board = compare(runs, base=runs[1])
    assert {entry.name: entry.score_val and round(entry.score_val.mean, 3) for entry in board.entries} == {
        "a": 0.7,  # 0.5 * 0.4 and an F1 equal to the baseline's
        "b": 0.7,
    }


def test_a_run_given_twice_is_said(make: Make) -> None:
    run = make("a")
    board = compare([run, run])
    assert f"{run} is given 2 times and counts once" in board.notes
    assert len(board.entries) == 1


def test_wrong_words_are_one_line(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="by: found 'speed'; must be one of score_val"):
        compare([make("a")], by="speed")
    with pytest.raises(InputError, match="no such folder; give a run's"):
        compare([tmp_path / "none"])


def test_the_command_prints_a_table_json_and_a_page(make: Make, tmp_path: Path) -> None:
    runs = [str(make("a")), str(make("b", target=0.3, score=1.4, f1=0.3))]

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "compress", "compare", *runs, *args]
        return subprocess.run(command, capture_output=True, text=True)

    page = tmp_path / "board.html"
    shown = call("--html", str(page))
    assert shown.returncode == 0, shown.stderr
    assert "ranked by score_val, lower is better" in shown.stdout
    assert "<svg" in page.read_text()
    board = json.loads(call("--json", "--by", "f1_test").stdout)
    assert [entry["rank"] for entry in board["entries"]] == [1, 2]
    assert board["entries"][0]["f1_test"]["mean"] == pytest.approx(0.79)
    failed = call("--by", "speed")
    assert failed.returncode == 2
    assert len(failed.stderr.splitlines()) == 1


ESTIMATES = st.tuples(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5)).map(
    lambda v: Estimate(v[0], v[0] - v[1], v[0] + v[2])
)


@given(ESTIMATES, ESTIMATES)
def test_a_tie_is_mutual_and_disjoint_intervals_are_none(one: Estimate, two: Estimate) -> None:
    assert _tied(one, two) == _tied(two, one)
    assert _tied(one, one)
    if one.high < two.low - 1e-9:  # more than what rounding does
        assert not _tied(one, two)
