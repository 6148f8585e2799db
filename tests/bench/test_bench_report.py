"""Times of another machine in a run's report: matched by content, scored by that machine's own ratios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_samples import report as sample

from compress.__main__ import main
from compress.bench.report import add_timing, head, markdown, remarks, still_valid
from compress.bench.result import Bench
from compress.measure.score import F1Time
from compress.report.run_folder import read_report, write_report
from compress.runtimes.folder import Artifact


def artifact(folder: Path, content: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_text(content)
    (folder / "artifact.json").write_text("{}")
    return Artifact(folder).content


def timed(content: str, ms: float, ratio: float, name: str = "a", spread: float = 0.01) -> dict[str, Any]:
    return {
        "name": name,
        "content": content,
        "runtime": "onnxruntime",
        "int8": False,
        "threads": 1,
        "latency_ms": {"median": ms, "p10": 0.9 * ms, "p90": 1.3 * ms, "n": 500},
        "latency_ratio": ratio,
        "latency_ratio_interval": (ratio - spread, ratio + spread),
        "note": "",
        "load_ms": 150.0,
        "memory_bytes": 40 * 2**20,
        "bytes": 1000,
    }


def to_label(timed: dict[str, Any], ms: float, ratio: float, spread: float = 0.01) -> dict[str, Any]:
    """The same with the time from a photo to its label."""
    return {
        **timed,
        "end_to_end_ms": {"median": ms, "p10": ms, "p90": ms, "n": 500},
        "end_to_end_ratio": ratio,
        "end_to_end_ratio_interval": (ratio - spread, ratio + spread),
    }


def timing(*artifacts: dict[str, Any], machine: str = "pi", warning: str | None = None) -> Bench:
    facts = {"id": machine, "cpu": f"the CPU of {machine}", "versions": {}}
    return Bench(machine=facts, images="random", artifacts=artifacts, warning=warning)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three models: baseline, prune (final) and spoil, which was not kept."""
    folder = tmp_path / "run"
    content = sample()
    content["final"]["content"] = content["steps"][0]["content"] = artifact(folder / "artifact", "pruned")
    content["baseline"]["content"] = artifact(folder / "baseline", "base")
    content["steps"][2]["content"] = artifact(tmp_path / "spoil", "spoilt")
    write_report(folder, content)
    return folder


@pytest.fixture
def contents(run: Path) -> dict[str, str]:
    found = read_report(run)
    names = {"baseline": found["baseline"], "prune": found["steps"][0], "spoil": found["steps"][2]}
    return {name: step["content"] for name, step in names.items()}


def saved(run: Path, bench: Bench) -> Path:
    file = run.parent / "bench.json"
    file.write_text(bench.model_dump_json())
    return file


def test_scores_are_by_the_ratios_of_that_session(run: Path, contents: dict[str, str]) -> None:
    bench = timing(
        timed(contents["baseline"], 8.0, 1.0),
        timed(contents["prune"], 2.1, 0.25),
        timed("0" * 20, 5.0, 0.6, name="another"),
    )
    (entry,) = add_timing(read_report(run), run, saved(run, bench))["elsewhere"]
    base, prune = entry["steps"]
    assert (base["label"], base["score_val"], base["score_test"]) == ("baseline", 1.0, 1.0)
    # f1_val is 0.8 for the baseline and 0.79 after pruning; the time is 0.25 of 8 ms, not 2.1.
    want = F1Time(f1_base=0.8, time_base=8.0).points(f1=0.79, time=2.0)
    assert prune["score_val"] == pytest.approx(want)
    assert prune["score_test"] == pytest.approx(want)  # both are a point higher on test
    assert prune["latency_ms"]["median"] == 2.1
    assert entry["left_out"] == ["another"]
    assert entry["machine"]["id"] == "pi"


def test_stages_that_were_not_kept_count_too_and_a_tie_is_one(run: Path, contents: dict[str, str]) -> None:
    bench = timing(timed(contents["baseline"], 8.0, 1.0), timed(contents["spoil"], 8.0, 1.001))
    (entry,) = add_timing(read_report(run), run, saved(run, bench))["elsewhere"]
    assert [(step["label"], step["tie"]) for step in entry["steps"]] == [("baseline", False), ("spoil", True)]
    assert "| spoil | 8.000 | 7.200 | 10.400 | tie | 0.991 to 1.011 | 150 | 40.0 |" in markdown(entry)


@pytest.mark.parametrize("told", [True, False])
def test_of_stages_with_one_label_the_last_kept_is_the_final_one(
    run: Path, contents: dict[str, str], tmp_path: Path, told: bool
) -> None:
    """As its content says, and without it, in reports of earlier versions, too."""
    report = read_report(run)
    final, _, spoil = report["steps"]
    first = {**final, "f1_val": 0.5, "content": artifact(tmp_path / "first", "pruned once")}
    report["steps"] = [first, final, {**spoil, "label": "prune"}]
    pair = timed(contents["baseline"], 8.0, 1.0), timed(contents["prune"], 2.0, 0.25)
    if not told:
        for step in report["steps"]:
            del step["content"]
    (entry,) = add_timing(report, run, saved(run, timing(*pair)))["elsewhere"]
    want = F1Time(f1_base=0.8, time_base=8.0).points(f1=0.79, time=2.0)
    assert [step["score_val"] for step in entry["steps"]] == [1.0, pytest.approx(want)]


def test_the_command_writes_it_everywhere_and_leaves_the_ranking_alone(
    run: Path, contents: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_report(run)
    bench = timing(
        timed(contents["baseline"], 8.0, 1.0), timed(contents["prune"], 2.0, 0.25), warning="two threads"
    )
    file = saved(run, bench)
    assert main(["report", str(run), "--timing", str(file)]) == 0
    printed = capsys.readouterr().out
    after = read_report(run)
    assert {k: v for k, v in after.items() if k != "elsewhere"} == {
        k: v for k, v in before.items() if k != "elsewhere"
    }
    assert len(after["elsewhere"]) == 1
    for text in (printed, (run / "report.md").read_text(), (run / "report.html").read_text()):
        assert "the CPU of pi, onnxruntime, 1 thread, batch 1" in text
        assert "0.240 to 0.260" in text
        assert "Two threads." in text
    assert main(["report", str(run)]) == 0  # once added it stays
    assert "the CPU of pi" in capsys.readouterr().out


def test_a_machine_timed_again_replaces_its_row_and_another_adds_one(
    run: Path, contents: dict[str, str]
) -> None:
    report = read_report(run)
    for machine, ms in (("pi", 8.0), ("pi", 9.0), ("laptop", 1.0)):
        pair = timed(contents["baseline"], ms, 1.0), timed(contents["prune"], ms / 4, 0.25)
        report = add_timing(report, run, saved(run, timing(*pair, machine=machine)))
    found = [(e["machine"]["id"], e["steps"][0]["latency_ms"]["median"]) for e in report["elsewhere"]]
    assert found == [("pi", 9.0), ("laptop", 1.0)]


def test_what_does_not_match_is_one_line(
    run: Path, contents: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    base, other = timed(contents["baseline"], 8.0, 1.0, "base"), timed("0" * 20, 2.0, 0.25, "other")
    prune = timed(contents["prune"], 2.0, 1.0, "prune")
    for artifacts, said in (
        ((other, base), "its first artifact, other, is not the baseline"),
        ((prune, base), "its first artifact, prune, is not the baseline"),
        ((base, other), "times no model of"),
        ((base,), "times no model of"),
    ):
        file = saved(run, timing(*artifacts))
        assert main(["report", str(run), "--timing", str(file)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{file}: {said}")
    assert read_report(run)["elsewhere"] == []


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ({"kind": "f1_time", "time": "end_to_end"}, "counts end-to-end time; give bench photos (--data)."),
        ({"kind": "f1_time", "baseline": "gone"}, "compares with gone, which was not timed there; name it"),
    ],
)
def test_no_score_where_the_metric_wants_what_was_not_timed(
    run: Path, contents: dict[str, str], metric: dict[str, Any], why: str
) -> None:
    report = {**read_report(run), "metric": metric}
    pair = timed(contents["baseline"], 8.0, 1.0), timed(contents["prune"], 2.0, 0.25)
    (entry,) = add_timing(report, run, saved(run, timing(*pair)))["elsewhere"]
    assert [step["score_test"] for step in entry["steps"]] == [None, None]
    assert why in remarks(entry)
    assert "end to end ms" not in head(entry)


def test_end_to_end_time_counts_where_the_metric_says_so(run: Path, contents: dict[str, str]) -> None:
    report = {**read_report(run), "metric": {"kind": "f1_time", "time": "end_to_end"}}
    pair = (
        to_label(timed(contents["baseline"], 8.0, 1.0), 10.0, 1.0),
        to_label(timed(contents["prune"], 2.0, 0.25), 4.0, 0.41),
    )
    (entry,) = add_timing(report, run, saved(run, timing(*pair)))["elsewhere"]
    want = F1Time(f1_base=0.8, time_base=1.0).points(f1=0.79, time=0.41)
    assert [step["score_val"] for step in entry["steps"]] == [1.0, pytest.approx(want)]
    assert "Scores are by end-to-end time." in remarks(entry)
    assert " 0.240 to 0.260 | 4.000 | 0.410 | " in markdown(entry)
    assert {line.count("|") for line in markdown(entry).splitlines()} == {len(head(entry)) + 1}
    tied = pair[0], to_label(timed(contents["prune"], 2.0, 0.25), 10.0, 1.001)
    (entry,) = add_timing(report, run, saved(run, timing(*tied)))["elsewhere"]
    assert " | 10.000 | tie | " in markdown(entry)


def test_the_model_of_metric_baseline_is_the_base_there_too(
    run: Path, contents: dict[str, str], tmp_path: Path
) -> None:
    """It is timed beside the run's two; its F1 is in the run's report."""
    other = artifact(tmp_path / "other" / "artifact", "another model")
    report = {**read_report(run), "metric": {"kind": "f1_time", "baseline": str(tmp_path / "other")}}
    report["baseline"] = {**report["baseline"], "base": {"f1_val": 0.9, "f1_test": 0.7, "macs": None}}
    three = (
        timed(contents["baseline"], 8.0, 1.0),
        timed(contents["prune"], 2.0, 0.25),
        timed(other, 4.0, 0.5, name="other/artifact"),
    )
    (entry,) = add_timing(report, run, saved(run, timing(*three)))["elsewhere"]
    for split, f1_base in (("val", 0.9), ("test", 0.7)):
        metric = F1Time(f1_base=f1_base, time_base=1.0)
        want = [
            metric.points(f1=step[f"f1_{split}"], time=ratio)
            for step, ratio in ((report["baseline"], 2.0), (report["steps"][0], 0.5))
        ]
        assert [step[f"score_{split}"] for step in entry["steps"]] == pytest.approx(want)
    assert "Scores are relative to other/artifact." in remarks(entry)


def test_f1_macs_needs_no_time(run: Path, contents: dict[str, str]) -> None:
    report = {**read_report(run), "metric": {"kind": "f1_macs", "macs_base": None, "f1_base": 0.9}}
    pair = timed(contents["baseline"], 8.0, 1.0), timed(contents["prune"], 2.0, 0.25)
    (entry,) = add_timing(report, run, saved(run, timing(*pair)))["elsewhere"]
    assert entry["steps"][1]["score_val"] == pytest.approx(0.4 + 1 - 0.79 / 0.9)


def test_a_run_done_again_keeps_what_is_of_its_models(run: Path, contents: dict[str, str]) -> None:
    pair = timed(contents["baseline"], 8.0, 1.0), timed(contents["prune"], 2.0, 0.25)
    report = add_timing(read_report(run), run, saved(run, timing(*pair)))
    assert still_valid(run, report) == []  # nothing was written yet
    write_report(run, report)
    new = {**report, "elsewhere": []}
    assert still_valid(run, new) == report["elsewhere"]
    other = json.loads(json.dumps(new))
    other["steps"][0]["content"] = "0" * 20
    assert still_valid(run, other) == []
    (run / "report.json").write_text("{")
    assert still_valid(run, new) == []
