"""The pages in a real browser: drawn, sortable, usable by keyboard, readable on a phone and in the dark."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from photos import make_set
from PIL import Image
from report_samples import STEPS, ablation, full_report

from compress.compare import compare
from compress.eda import examine
from compress.models.pretrained import WHEEL
from compress.report import ablation_page, compare_page, eda_page, page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: extra test")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_CHECKS = (Path(__file__).parent / "browser_checks.js").read_text()
_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    binary = next(filter(None, map(shutil.which, _NAMES)), None)
    if binary is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on PATH (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=binary, args=_ARGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run's page with all there can be, an ablation's, a leaderboard, and a look at data."""
    folder = tmp_path_factory.mktemp("pages")
    control = {**STEPS[0].to_dict(), "label": "control", "kind": "control"}
    content = {**full_report(folder), "control": control}
    (folder / "report.json").write_text(json.dumps(content))
    again = {**content, "recipe": {**content["recipe"], "name": "twin", "gate": "always"}}
    (folder / "twin").mkdir()
    (folder / "twin/report.json").write_text(json.dumps(again))
    texts = {
        "compare": compare_page.render(compare([folder, folder / "twin"])),
        "run": page.render(content, folder),
        "ablation": ablation_page.render(ablation(), folder, ablation_page.figures(ablation())),
        "eda": _eda(folder / "set"),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


def _eda(root: Path) -> str:
    """Photos with a copy across splits, one that cannot be read, and two sizes."""
    make_set(root, {"train": 8, "test": 5})
    copy = Image.open(root / "train/rings/0004.jpg")
    copy.rotate(90, expand=True).save(root / "test/bars/a photo under a long name.png")
    copy.resize((200, 150)).save(root / "test/bars/copied.jpg")
    (root / "train/bars/broken.jpg").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEYONDNAS_CACHE", str(root.parent / "cache"))
        patch.setitem(sys.modules, WHEEL, None)  # simple features: no torch
        return eda_page.render(examine(root, size=64, log=lambda line: None))


@pytest.fixture
def show(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """``show(name, width, scheme)``: a page, offline; a request or a complaint in the console is an error."""
    contexts, wrong = [], []

    def open_page(name: str, width: int = 1200, scheme: str = "light") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            offline=True,
            reduced_motion="reduce",
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        tab.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith("http") else None)
        tab.goto(pages[name].as_uri())
        tab.evaluate(_CHECKS)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


PAGES = pytest.mark.parametrize("name", ["run", "ablation", "compare", "eda"])


@PAGES
def test_every_figure_is_drawn_on_a_desktop_and_on_a_phone(show: Any, name: str) -> None:
    for width in (1200, 375):
        tab = show(name, width)
        drawn = tab.evaluate("drawings()")
        assert len(drawn) == {"run": 10, "ablation": 4, "compare": 2, "eda": 5}[name]
        for id_, wide, high, marks in drawn:
            assert wide > 200, id_
            assert high > 20, id_
            assert marks >= 2, id_
        if name == "run":
            widths = tab.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)")
            assert widths == [40] * 4


@PAGES
@pytest.mark.parametrize("width", [1200, 375])
def test_no_label_runs_into_another_or_out_of_its_figure(show: Any, name: str, width: int) -> None:
    assert show(name, width).evaluate("clashes()") == []


@PAGES
def test_a_phone_never_scrolls_sideways(show: Any, name: str) -> None:
    tab = show(name, 375)
    for opened in (False, True):
        tab.eval_on_selector_all("details", f"all => all.forEach(d => d.open = {str(opened).lower()})")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 375
        assert tab.evaluate("document.body.scrollWidth") <= 375
    assert (
        float(tab.evaluate("parseFloat(getComputedStyle(document.querySelector('svg text')).fontSize)")) >= 11
    )


@PAGES
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(show: Any, name: str, scheme: str) -> None:
    tab = show(name, 1200, scheme)
    tab.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 24)"
    assert dark == (scheme == "dark")
    assert tab.evaluate("lowContrast()") == []


def test_the_checks_above_see_what_is_wrong(show: Any) -> None:
    tab = show("run")
    tab.add_style_tag(content=":root { --muted: #9aa } svg text { letter-spacing: 1em }")
    assert any("baseline" in line for line in tab.evaluate("lowContrast()"))
    assert any("sticks out" in line for line in tab.evaluate("clashes()"))
    assert any("|" in line for line in tab.evaluate("clashes()"))


def _column(tab: Any, number: int) -> list[str]:
    cells: list[str] = tab.eval_on_selector_all(
        f"#stages tbody tr > :nth-child({number})", "all => all.map(c => c.textContent)"
    )
    return cells


def test_the_table_of_stages_needs_no_scrolling_on_a_screen_of_1200_pixels(show: Any) -> None:
    tab = show("run")
    tab.set_viewport_size({"width": 1200, "height": 900})
    widths = tab.eval_on_selector("#stages .wide", "one => [one.scrollWidth, one.clientWidth]")
    assert widths[0] <= widths[1]


def test_tables_sort_by_click_and_by_enter_and_go_back(show: Any) -> None:
    tab = show("run")
    head = tab.locator("#stages thead button", has_text="F1 val")
    assert _column(tab, 3) == ["0.800", "0.790", "-", "0.200", "0.800"]
    head.click()
    assert _column(tab, 3) == ["0.200", "0.790", "0.800", "0.800", "-"]
    assert tab.locator("#stages th[aria-sort=ascending]").inner_text() == "F1 val"
    head.focus()
    tab.keyboard.press("Enter")
    assert _column(tab, 3) == ["0.800", "0.800", "0.790", "0.200", "-"]  # what was not measured stays last
    assert tab.locator("#stages th[aria-sort=descending]").count() == 1
    tab.keyboard.press("Space")
    assert _column(tab, 1) == ["baseline", "prune", "decompose", "spoil", "control"]
    size = tab.locator("#stages thead button", has_text="size")
    size.click()  # by bytes, not by what is written: 2.29 MiB before 5.72 MiB
    assert _column(tab, 9) == ["2.29 MiB", "2.29 MiB", "5.72 MiB", "5.72 MiB", "-"]


@PAGES
def test_the_tab_key_reaches_contents_headers_and_figures_in_order(show: Any, name: str) -> None:
    tab = show(name)
    assert tab.locator("[tabindex]:not([tabindex='0']):not([tabindex='-1'])").count() == 0
    seen: list[str] = []
    for _ in range(300):
        tab.keyboard.press("Tab")
        what = tab.evaluate("focused()")
        if what is None:
            break
        seen.append(what)
    links = tab.eval_on_selector_all("nav.toc a", "all => all.map(a => 'A ' + a.textContent.trim())")
    figures = tab.eval_on_selector_all("svg", "all => all.map(s => 'svg ' + s.id)")
    heads = tab.eval_on_selector_all(
        ".wide:not(details .wide) thead button", "all => all.map(b => 'BUTTON ' + b.textContent.trim())"
    )
    assert seen[0] == "A Skip to the text"
    assert seen[1 : 1 + len(links)] == links
    assert [what for what in seen if what.startswith("svg ")] == figures
    assert set(heads) <= set(seen)


def test_contents_lead_to_their_sections(show: Any) -> None:
    tab = show("run", 375)
    tab.locator("nav.toc a", has_text="Widths and ranks").click()
    box = tab.locator("#widths").bounding_box()
    assert 0 <= box["y"] < 120
    assert "8 \u2192 12" in tab.locator("#widths").inner_text()


def test_a_mark_says_its_number_under_the_pointer_and_by_the_arrow_keys(show: Any) -> None:
    tab = show("run")
    tip = tab.locator(".tip")
    tab.locator("#fig-score-test rect").first.hover()
    assert tip.inner_text() == "baseline: time term 0.500"
    tab.mouse.move(0, 0)
    assert tip.is_hidden()
    tab.locator("#fig-f1-time").focus()  # which scrolls there
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    tab.keyboard.press("ArrowRight")
    assert "baseline: F1 0.810 (0.770 to 0.850), 2.000 ms" in tip.inner_text()
    tab.evaluate("dispatchEvent(new Event('scroll'))")  # hides the tip; the keys go on from where they were
    tab.keyboard.press("ArrowRight")
    assert tip.inner_text().startswith("prune: F1 0.800")
    tab.keyboard.press("Escape")
    assert tip.is_hidden()


def test_in_print_all_is_unfolded_and_the_contents_are_left_out(show: Any) -> None:
    tab = show("run", scheme="dark")
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("nav.toc").is_hidden()
    assert tab.locator("details:not([open])").count() == 0
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_javascript_all_is_still_there(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(pages["run"].as_uri())
    assert tab.locator("svg").count() == 10
    assert tab.locator("#stages tbody tr").count() == 5
    context.close()
