"""What a run leaves to read: complete, escaped, and the same from one content."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_samples import AFTER, BEFORE, STEPS, TRUTH, ablation, full_report, photos, report

from compress.data.images import ImageSet
from compress.errors import CompressError, InputError
from compress.measure.quality import f1_difference_interval
from compress.recipe import Recipe
from compress.report import ablation_page
from compress.report.figures import figures
from compress.report.markdown import render as render_markdown
from compress.report.run_folder import RunFolder, build, read_report, record, write_report
from compress.report.summary import headline, tiles
from compress.report.tables import FIELDS, markdown, rows, terminal
from compress.stages.finetune import Finetune
from compress.step import Step


def test_the_table_says_what_was_kept_dropped_and_skipped() -> None:
    lines = markdown(rows(report())).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["-", "yes", "skipped", "no"]
    assert "72.2 M" in lines[2]
    assert lines[4].count("| - ") == 10


def test_a_terminal_gets_the_columns_it_has_room_for() -> None:
    from rich.console import Console

    def shown(width: int) -> tuple[list[str], str]:
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(terminal(rows(report()), width=width))
        text = console.export_text()
        assert max(len(line) for line in text.splitlines()) <= width
        return [f.name for f in FIELDS if f" {f.name} " in text.splitlines()[1]], text

    wide, narrow = shown(132), shown(60)
    assert wide[0] == [field.name for field in FIELDS]
    assert "no room" not in wide[1]
    assert narrow[0] == ["stage", "kept", "F1 test", "ratio", "score test"]
    assert "no room for F1 val, ms, to label, params, MACs, size, score val" in " ".join(narrow[1].split())
    assert "\u2026" not in narrow[1]


def test_reports_come_from_one_content_and_are_read_back(tmp_path: Path) -> None:
    content = report()
    write_report(tmp_path, content)
    assert read_report(tmp_path) == content
    text = (tmp_path / "report.md").read_text()
    assert "score_test **0.770**" in text
    assert "(95 % 0.700 to 0.830" in text
    assert "openvino cannot run it" in text
    assert "met: F1" in text
    assert "## The data" in text
    assert "- skipped 1 of 200 files: <a>.jpg" in text
    write_report(tmp_path, report(data_notes=[]))
    assert "The data" not in (tmp_path / "report.md").read_text()
    assert "The data" not in (tmp_path / "report.html").read_text()


def test_many_notes_are_folded_in_markdown() -> None:
    content = report()
    content["steps"][0]["notes"] = [f"layer {i}: 8 <-> 4" for i in range(6)]
    text = render_markdown(content)
    assert "<details><summary>prune: layer 0: 8 &lt;-&gt; 4 (5 more)</summary>\n\n- layer 1" in text
    assert text.count("<details>") == text.count("</details>") == 1


def test_figures_are_files_too_and_none_is_left_of_another_report(tmp_path: Path) -> None:
    write_report(tmp_path, full_report(tmp_path))
    names = set(figures(full_report(tmp_path)))
    assert names == {
        "score-test", "score-val", "f1-time", "time-by-kind", "slowest-baseline", "slowest-final",
        "per-class", "confusion-baseline", "confusion-final", "widths",
    }  # fmt: skip
    files = {file.name for file in (tmp_path / "figures").iterdir()}
    assert files == {f"{name}.{ending}" for name in names for ending in ("svg", "png")}
    write_report(tmp_path, report())
    assert not (tmp_path / "figures/widths.svg").exists()
    assert (tmp_path / "figures/f1-time.png").read_bytes().startswith(b"\x89PNG")


class _Strict(HTMLParser):
    """Open tags must close in order; no address outside the file may be named."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(attrs)
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(attrs)

    def note(self, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        self.ids += [v or "" for k, v in attrs if k == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _page(folder: Path) -> tuple[str, _Strict]:
    page, parser = (folder / "report.html").read_text(), _Strict()
    parser.feed(page)
    return page, parser


def test_the_page_is_whole_self_contained_and_escaped(tmp_path: Path) -> None:
    control = {**STEPS[0].to_dict(), "label": "control", "kind": "control"}
    write_report(tmp_path, {**full_report(tmp_path), "control": control})
    page, parser = _page(tmp_path)
    assert parser.open == []
    assert all(link.startswith(("#", "data:")) for link in parser.links), parser.links
    assert len(set(parser.ids)) == len(parser.ids)
    assert {link[1:] for link in parser.links if link.startswith("#")} <= set(parser.ids)
    assert page.count("<svg") == 10
    assert page.count("<img") == 4  # three lost, one won
    assert "a <b> c" not in page
    assert "a &lt;b&gt; c" in page
    assert "&lt;glass&gt;" in page
    assert "<glass>" not in page
    assert ">control</th>" in page
    assert "<li>skipped 1 of 200 files: &lt;a&gt;.jpg</li>" in page
    assert len(page) < 5_000_000


def test_the_page_says_why_each_stage_was_kept_or_not_and_every_try(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    page, _ = _page(tmp_path)
    for step in STEPS:
        assert step.why.removeprefix("skipped: ") in page
    assert "not kept at 0.5: not better" in page
    assert "kept at 0.35: better" in page


def test_report_again_draws_the_same_page_without_the_data(tmp_path: Path) -> None:
    write_report(tmp_path, full_report(tmp_path))
    first = (tmp_path / "report.html").read_text()
    write_report(tmp_path, read_report(tmp_path))
    assert (tmp_path / "report.html").read_text() == first
    for file in (tmp_path / "flips").iterdir():  # thumbnails are gone: still a page, with their names
        file.unlink()
    write_report(tmp_path, read_report(tmp_path))
    page, _ = _page(tmp_path)
    assert "<img" not in page
    assert "photo1.jpg" in page


def test_a_report_of_an_earlier_version_is_still_read_and_drawn(tmp_path: Path) -> None:
    content = report()
    later = ("confusion_test", "confusion_val", "base", "predictions_test", "end_to_end_ratio", "time_ratio")
    for step in (content["baseline"], content["final"], *content["steps"]):
        for key in later:
            step.pop(key, None)
    for key in ("data_notes", "flips", "shapes", "test"):
        del content[key]
    (tmp_path / "report.json").write_text(json.dumps(content))
    write_report(tmp_path, read_report(tmp_path))
    page, _ = _page(tmp_path)
    assert page.count("<svg") == 4
    assert read_report(tmp_path)["data_notes"] == []


def _styles(folder: Path) -> list[str]:
    """Of the rows in the page's table of steps."""
    page, _ = _page(folder)
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    return [line.split('"')[1] if "class" in line.split(">")[0] else "" for line in table.split("<tr")[1:]]


def test_of_stages_with_one_label_only_the_final_one_is_marked(tmp_path: Path) -> None:
    content = report()
    write_report(tmp_path, {**content, "steps": [content["steps"][0], *content["steps"]]})
    assert _styles(tmp_path) == ["", "", "final", "dropped", "dropped"]


def test_dropped_stages_are_pale_on_the_page_as_in_the_terminal_and_the_control_is_not(
    tmp_path: Path,
) -> None:
    control = {**STEPS[0].to_dict(), "label": "control", "kind": "control", "kept": False}
    content = report(control=control)
    write_report(tmp_path, content)
    styles = _styles(tmp_path)
    assert styles == ["", "final", "dropped", "dropped", ""]
    assert [row.style for row in terminal(rows(content)).rows] == ["", "", "dim", "dim", ""]


def test_a_class_absent_from_test_has_no_f1(tmp_path: Path) -> None:
    figure = figures(report())["per-class"]
    assert [row[0] for row in figure.rows] == ["<glass>", "paper & co", "metal"]
    assert [row[1] for row in figure.rows] == [3, 3, 4]
    assert figure.rows[1][2:] == (None, None, None)
    assert "paper & co: not in test" in figure.summary


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {},
            "After prune: 2.5 times as fast as the baseline, 2.5 times smaller, F1 on test 1.0 points lower.",
        ),
        ({"latency_ratio": 1.5, "latency_ratio_interval": [1.4, 1.6]}, "slower than the baseline (\u00d71.5"),
        ({"latency_ratio": 0.99, "latency_ratio_interval": [0.9, 1.1]}, "as fast as the baseline, "),
        (
            {"f1_test_change_interval": [-0.02, 0.004]},
            "lower, which may be noise (95 % of the change -2.0 to +0.4).",
        ),
        ({"f1_test_change_interval": [-0.02, -0.004]}, "1.0 points lower, more than noise (95 % of the "),
        ({"f1_test": 0.8102, "f1_test_change_interval": [-0.01, 0.01]}, "F1 on test the same (95 % of the "),
        ({"bytes": 7_000_000, "f1_test": 0.9}, "no smaller, F1 on test 9.0 points higher"),
        ({"label": "baseline"}, "No stage paid"),
    ],
)
def test_the_headline_says_what_came_out(change: dict[str, Any], said: str) -> None:
    content = report()
    content["final"] = {**content["final"], **change}
    assert said in headline(content)


def test_where_the_score_counts_the_way_from_photo_to_label_the_report_shows_that_time(
    tmp_path: Path,
) -> None:
    content = report()
    whole = {"end_to_end_ratio": 0.8, "end_to_end_ratio_interval": [0.78, 0.82]}
    content["final"] = {**content["final"], **whole}
    content["steps"] = [content["final"], *content["steps"][1:]]
    alone = render_markdown(content)
    assert "2.5 times as fast as the baseline, " in alone
    assert "The score counts" not in alone
    content["metric"] = {**content["metric"], "time": "end_to_end"}
    assert "After prune: 1.25 times as fast as the baseline from photo to label, " in headline(content)
    text = render_markdown(content)
    assert "time x0.800, " in text
    assert "The score counts the time from photo to label; ms and ratio are the model's alone." in text
    head, _, _, prune, *_ = (line.split("|") for line in markdown(rows(content)).splitlines())
    at = [cell.strip() for cell in head]
    assert (prune[at.index("ratio")].strip(), prune[at.index("to label")].strip()) == ("0.400", "0.800")
    write_report(tmp_path, content)
    page = (tmp_path / "report.html").read_text()
    assert "The score counts the time from photo to label" in page
    assert "to label</" in page
    (tile,) = (tile for tile in tiles(content) if tile.name == "Photo to label")
    assert (tile.value, tile.note) == ("\u00d70.800", "0.780 to 0.820; 2.400 ms, baseline 3.000 ms")


def test_a_required_time_is_the_one_that_the_table_shows(tmp_path: Path) -> None:
    """Not the final model's own median, which may be of a moment when all was slower."""
    (tmp_path / "artifact.json").write_text('{"runtime": "onnxruntime"}')
    score = STEPS[1].score
    assert score is not None
    slow = replace(score, latency=replace(score.latency, median=9.0), end_to_end_ms=9.0)
    steps = [replace(STEPS[0], test=photos()), replace(STEPS[1], score=slow, artifact=str(tmp_path))]
    for time, shown in (("model", "0.800 ms"), ("end_to_end", "1.200 ms")):
        recipe = Recipe(name="tiny", metric={"kind": "f1_time", "time": time, "require": {"time_ms": 1.3}})
        (met,) = build(recipe, steps, {})["require"]
        assert met["met"]
        assert shown in met["line"]


def test_test_photos_are_told_apart_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "artifact.json").write_text('{"runtime": "onnxruntime"}')

    def told(test: ImageSet) -> dict[str, Any]:
        steps = [replace(STEPS[0], test=test, artifact=str(tmp_path))]
        found: dict[str, Any] = build(Recipe(name="tiny"), steps, {})["test"]
        return found

    same, other = told(photos(64)), told(replace(photos(), names=tuple(f"{i}.jpg" for i in range(10))))
    assert told(photos()) == same
    assert same["digest"] == other["digest"]
    assert same["files"] != other["files"]
    assert told(replace(photos(), names=()))["files"] is None


def test_the_headline_of_a_run_without_stages_blames_none() -> None:
    content = report()
    content |= {"final": content["baseline"], "steps": []}
    assert headline(content) == "No stages: the baseline is the final model."


def test_whether_the_change_of_f1_is_noise_comes_from_both_models_labels(tmp_path: Path) -> None:
    (tmp_path / "artifact.json").write_text('{"runtime": "onnxruntime"}')
    steps = [replace(STEPS[0], test=photos()), replace(STEPS[1], artifact=str(tmp_path))]
    final = build(Recipe(name="tiny"), steps, {})["final"]
    low, high = final["f1_test_change_interval"]
    assert (low, high) == f1_difference_interval(TRUTH, np.array(AFTER), np.array(BEFORE))
    assert low < -0.1 < 0 < high  # ten photos, four of them with another label
    without = build(Recipe(name="tiny"), [replace(steps[1], test=None)], {})["final"]
    assert without["f1_test_change_interval"] is None


def test_a_run_shows_the_effects_of_its_ablation_and_of_no_other(tmp_path: Path) -> None:
    run, beside = tmp_path / "tiny", tmp_path / "tiny-ablation"
    beside.mkdir()
    (beside / "ablation.json").write_text(json.dumps(ablation()))
    write_report(run, report())
    assert 'id="fig-effects-val"' in (run / "report.html").read_text()
    trained, scored, elsewhere = ablation(), ablation(), ablation()
    trained["recipe"]["train"]["epochs"] += 1
    scored["recipe"]["metric"] = {"kind": "f1_macs"}
    for effect in elsewhere["effects"]:
        effect["runtime"] = "torch"
    for other in (trained, scored, elsewhere):
        (beside / "ablation.json").write_text(json.dumps(other))
        write_report(run, report())
        assert 'id="fig-effects-val"' not in (run / "report.html").read_text()
    (beside / "ablation.json").write_text("{")
    write_report(run, report())


def test_the_page_of_an_ablation(tmp_path: Path) -> None:
    ablation_page.write_page(tmp_path, ablation())
    page, parser = _page(tmp_path)
    assert parser.open == []
    assert all(link.startswith(("#", "data:")) for link in parser.links)
    assert {
        f"fig-{name}" for name in ("effects-val", "effects-test", "orders-behind", "chains-behind")
    } <= set(parser.ids)
    assert len(set(parser.ids)) == len(parser.ids)
    assert "max_hours is reached" in page
    assert "prune &lt;why&gt;" in page
    assert "24 stage runs asked, 10 done" in page
    assert "<dt>tie</dt><dd>no verdict &lt;yet&gt;</dd>" in page
    assert "<li>Effects cover seeds and photos.</li>" in page
    chains = page[page.index('<section id="chains">') :]
    assert (
        chains.index(">best</td>") < chains.index(">behind</td>") < chains.index(">prune &gt; quantize</td>")
    )
    effects = ablation_page.figures(ablation())["effects-val"]
    assert [row[-1] for row in effects.rows] == ["useful", "tie", "harmful"]  # what declined has no effect
    assert (tmp_path / "figures/effects-val.png").is_file()


def test_the_page_of_an_ablation_says_what_failed_and_which_strength_and_runtime(tmp_path: Path) -> None:
    content = ablation()
    content["variants"][1] |= {"error": "quantize: no <scale>", "score_val": None}
    one = {**content["ranking"][1], "tied": True}
    content["ranking"] = [
        {**one, "runtime": runtime, "set": {"stages[0].target": value}, "best": value == 0.3}
        for runtime in ("torch", "openvino")
        for value in (0.3, 0.5)
    ]
    ablation_page.write_page(tmp_path, content)
    page, _ = _page(tmp_path)
    assert "quantize: no &lt;scale&gt;</td>" in page
    figure = ablation_page.figures(content)["chains-behind"]
    chain = "quantize\u2192distill\u2192prune target"
    assert [(row[0], row[-1]) for row in figure.rows] == [
        (f"{chain} 0.3 (torch)", "best"),
        (f"{chain} 0.5 (torch)", "tie"),
        (f"{chain} 0.3 (openvino)", "best"),
        (f"{chain} 0.5 (openvino)", "tie"),
    ]


def test_an_ablation_s_page_is_drawn_again_and_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    assert ablation_page.rewrite(tmp_path) is None
    (tmp_path / "ablation.json").write_text(json.dumps(ablation()))
    assert ablation_page.rewrite(tmp_path) == tmp_path / "report.html"
    assert "fig-effects-val" in (tmp_path / "report.html").read_text()
    for damaged in ("{", "[]", "{}", json.dumps({**ablation(), "machine": {}})):
        (tmp_path / "ablation.json").write_text(damaged)
        with pytest.raises(InputError, match=r"ablation\.json: damaged"):
            ablation_page.rewrite(tmp_path)


def test_a_damaged_report_is_one_clear_line(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    file = tmp_path / "report.json"
    text = file.read_text()
    for damaged in (text[: len(text) // 2], "", "[]", "7", json.dumps(report(steps=7)), "\x00"):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"report\.json: damaged .*; run its recipe again") as caught:
            read_report(tmp_path)
        assert len(caught.value.problems) == 1
        assert "\n" not in str(caught.value)
    content = report()
    del content["final"]["f1_test"], content["recipe"]["name"]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"report\.json: lacks f1_test, name; run its recipe again"):
        read_report(tmp_path)


def test_a_missing_or_unfinished_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; give a run's"):
        read_report(tmp_path / "none")
    with pytest.raises(InputError, match="not a run's folder"):
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


def test_a_run_that_fails_frees_its_folder_while_its_exception_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a notebook keeps the last one, with all that it refers to."""

    def failing() -> Iterator[Step]:
        yield STEPS[0]
        raise CompressError("a stage failed")

    monkeypatch.chdir(tmp_path)
    kept = []
    for _ in range(2):
        with pytest.raises(CompressError, match="a stage failed") as caught:
            list(record(Recipe(name="tiny", stages=(Finetune(),)), failing()))
        kept.append(caught.value)
