"""What a run leaves to read: complete, escaped, and the same from one content."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.recipe import Recipe
from compress.report.run_folder import RunFolder, read_report, write_report
from compress.report.tables import markdown, rows, terminal
from compress.step import Latency, Score, Step


def _score(f1: float, ratio: float, points: float) -> Score:
    latency = Latency(2.0 * ratio, 1.9 * ratio, 2.4 * ratio, 500, ratio, (0.98 * ratio, 1.02 * ratio))
    return Score(
        f1_val=f1,
        f1_test=f1 + 0.01,
        f1_val_interval=(f1 - 0.04, f1 + 0.04),
        f1_test_interval=(f1 - 0.03, f1 + 0.05),
        f1_per_class={"<glass>": f1, "paper & co": None},
        accuracy_test=f1,
        latency=latency,
        end_to_end_ms=3.0,
        params=1_530_000,
        macs=72_160_000,
        layers=64,
        bytes=6_000_000,
        points_val=points,
        points_test=points + 0.02,
        points_test_interval=(points - 0.05, points + 0.08),
        agreement=1.0,
        max_logit_difference=1e-6,
        predictions_test=(0, 1),
    )


STEPS = [
    Step("baseline", "baseline", "k0", True, "where the chain starts", _score(0.8, 1.0, 1.0), 60.0, False),
    Step("prune", "prune", "k1", True, "better", _score(0.79, 0.4, 0.75), 30.0, False, notes=("a <b> c",)),
    Step("decompose", "decompose", "k1", False, "skipped: none faster", None, 5.0, False),
    Step("spoil", "spoil", "k2", False, "not better", _score(0.2, 0.4, 1.2), 5.0, True),
]


def _report(**more: Any) -> dict[str, Any]:
    rows = [step.to_dict() for step in STEPS]
    return {
        "recipe": Recipe(name="tiny").canonical(),
        "machine": {"cpu": "a CPU", "os": "an OS", "python": "3.11", "versions": {"torch": "2.15"}},
        "runtime": "onnxruntime",
        "metric": {"kind": "f1_time"},
        "baseline": rows[0],
        "steps": rows[1:],
        "final": rows[1],
        "control": None,
        "require": [{"met": True, "line": "met: F1"}],
        "other_runtimes_ms": {"torch": 8.0, "openvino": None},
        "data_notes": ["skipped 1 of 200 files: <a>.jpg"],
        **more,
    }


def test_the_table_says_what_was_kept_dropped_and_skipped() -> None:
    lines = markdown(rows(_report())).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["-", "yes", "skipped", "no"]
    assert "72.2 M" in lines[2]
    assert lines[4].count("| - ") == 9
    assert terminal(rows(_report())).row_count == 4


def test_reports_come_from_one_content_and_are_read_back(tmp_path: Path) -> None:
    report = _report()
    write_report(tmp_path, report)
    assert read_report(tmp_path) == report
    text = (tmp_path / "report.md").read_text()
    assert "score_test **0.770**" in text
    assert "(95 % 0.700 to 0.830" in text
    assert "openvino cannot run it" in text
    assert "met: F1" in text
    assert "## The data" in text
    assert "- skipped 1 of 200 files: <a>.jpg" in text
    write_report(tmp_path, _report(data_notes=[]))
    assert "The data" not in (tmp_path / "report.md").read_text()
    assert "The data" not in (tmp_path / "report.html").read_text()


class _Strict(HTMLParser):
    """Open tags must close in order; no address outside the file may be named."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_self_contained_and_escaped(tmp_path: Path) -> None:
    control = {**STEPS[0].to_dict(), "label": "control", "kind": "control"}
    write_report(tmp_path, _report(control=control))
    page = (tmp_path / "report.html").read_text()
    parser = _Strict()
    parser.feed(page)
    assert parser.open == []
    assert all(link.startswith("#") for link in parser.links), parser.links
    assert page.count("<svg") == 2
    assert "a <b> c" not in page
    assert "a &lt;b&gt; c" in page
    assert "&lt;glass&gt;" in page
    assert re.search(r"<td>control</td>", page)
    assert "<li>skipped 1 of 200 files: &lt;a&gt;.jpg</li>" in page
    assert len(page) < 5_000_000


def test_dropped_stages_are_pale_on_the_page_as_in_the_terminal_and_the_control_is_not(
    tmp_path: Path,
) -> None:
    control = {**STEPS[0].to_dict(), "label": "control", "kind": "control", "kept": False}
    report = _report(control=control)
    write_report(tmp_path, report)
    page = (tmp_path / "report.html").read_text()
    pale = re.findall(r'<tr class="dropped"><td>(\w+)</td>', page)
    assert pale == ["decompose", "spoil"]
    assert re.search(r"<tr><td>control</td>", page)
    styles = [row.style for row in terminal(rows(report)).rows]
    assert styles == ["", "", "dim", "dim", ""]


def test_a_class_absent_from_test_has_no_f1(tmp_path: Path) -> None:
    write_report(tmp_path, _report())
    page = (tmp_path / "report.html").read_text()
    assert "<tr><td>paper &amp; co</td><td></td><td>-</td><td>-</td></tr>" in page
    assert "<tr><td>&lt;glass&gt;</td><td></td><td>0.800</td><td>0.790</td></tr>" in page


def test_a_damaged_report_is_one_clear_line(tmp_path: Path) -> None:
    write_report(tmp_path, _report())
    file = tmp_path / "report.json"
    text = file.read_text()
    for damaged in (text[: len(text) // 2], "", "[]", "7", json.dumps(_report(steps=7)), "\x00"):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"report\.json: damaged .*; run its recipe again") as caught:
            read_report(tmp_path)
        assert len(caught.value.problems) == 1
        assert "\n" not in str(caught.value)
    report = _report()
    del report["final"]["f1_test"], report["recipe"]["name"]
    file.write_text(json.dumps(report))
    with pytest.raises(InputError, match=r"report\.json: lacks f1_test, name; run its recipe again"):
        read_report(tmp_path)
    report = _report()
    del report["data_notes"]  # of an earlier version
    file.write_text(json.dumps(report))
    assert read_report(tmp_path)["data_notes"] == []


def test_a_missing_or_unfinished_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        read_report(tmp_path / "none")
    with pytest.raises(InputError, match=r"no report\.json"):
        read_report(tmp_path)


def test_two_runs_of_one_name_at_once_are_refused_and_one_after_the_other_are_not(tmp_path: Path) -> None:
    recipe = Recipe(name="tiny")
    first = RunFolder.open(recipe, tmp_path)
    first.add(STEPS[0])
    assert json.loads((tmp_path / "tiny/steps.jsonl").read_text())["label"] == "baseline"
    with pytest.raises(InputError, match="another run of that name"):
        RunFolder.open(recipe, tmp_path)
    first.lock.release()
    again = RunFolder.open(Recipe(name="tiny", seed=1), tmp_path)
    assert (tmp_path / "tiny.1/recipe.yaml").is_file()
    again.lock.release()
