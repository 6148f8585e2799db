"""The page of `data eda`: whole in itself, small, and true to what was found."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from photos import KINDS, draw, make_set
from PIL import Image

from compress.data.eda.facts import Eda
from compress.eda import examine
from compress.models.pretrained import WHEEL
from compress.report.charts.photos import histogram
from compress.report.eda_page import render

VOID = {"meta", "link", "img", "br", "rect", "line", "circle"}


class Reader(HTMLParser):
    """Collects tags with their attributes; notes those that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(autouse=True)
def simple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEYONDNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(__import__("sys").modules, WHEEL, None)


def look(root: Path) -> Eda:
    return examine(root, size=64, log=lambda line: None)


@pytest.fixture
def eda(tmp_path: Path) -> Eda:
    root = make_set(tmp_path / "A & B", {"train": 10, "test": 6})
    copy = Image.open(root / "train/rings/0004.jpg")
    copy.rotate(0).resize((64, 48)).save(root / "test/rings/<copied>.jpg")
    copy.resize((200, 150)).save(root / "test/bars/again.png")
    (root / "train/bars/broken.jpg").write_bytes(b"x")
    return look(root)


def test_it_is_whole_in_itself(eda: Eda) -> None:
    page = render(eda)
    reader = read(page)
    assert not reader.wrong
    assert not reader.open
    for tag, attributes in reader.tags:
        for name in ("src", "href", "data-src", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    style = re.findall(r"<style>(.*?)</style>", page, re.S)
    assert style
    assert not any("url(" in text or "@import" in text for text in style)
    assert "fetch(" not in page
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for tag, a in reader.tags if tag == "a" and a["href"]}
    assert targets <= set(ids)
    assert all(a.get("alt") for tag, a in reader.tags if tag == "img")
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_it_shows_what_was_found(eda: Eda) -> None:
    page = render(eda)
    assert "A &amp; B" in page
    assert "&lt;copied&gt;.jpg" in page
    assert "<copied>" not in page
    assert "in train and test" in page
    assert "labelled bars and rings" in page
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    assert "broken.jpg" in text
    assert re.search(r"120 x 90\s+48", text)
    samples = page[page.index('<section id="samples"') : page.index('<section id="sizes"')]
    for kind in KINDS:
        assert f"<h3>{kind} " in samples
    assert samples.count("<img") == 14 * 3
    assert render(eda) == page
    assert render(eda, seed=1) != page


def test_many_classes_and_noisy_photos_stay_below_five_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for c in range(90):
        folder = tmp_path / "set" / f"class{c:02d}"
        folder.mkdir(parents=True)
        for i in range(4):
            noise = rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{i}.png")
    eda = look(tmp_path / "set")
    assert eda.labels is None  # four photos a class are too few
    page = render(eda)
    assert 1_000_000 < len(page) < 5_000_000
    assert "Not checked" in page
    assert not read(page).wrong


def test_one_size_is_a_sentence_several_are_figures(tmp_path: Path) -> None:
    root = make_set(tmp_path / "one", {"": 6})
    page = render(look(root))
    assert "All photos are 120 x 90 pixels." in page
    assert 'id="fig-sides"' not in page
    Image.fromarray(draw("bars", np.random.default_rng(9), 60, 200)).save(root / "bars/tall.jpg")
    page = render(look(root))
    assert 'id="fig-sides"' in page
    assert 'id="fig-ratios"' in page


def test_a_histogram_counts_every_value_once() -> None:
    figure = histogram([0.1, 1.0, 1.5, 2.0, 9.0], [0, 1, 2, 3], "n", "N")
    assert [row[2] for row in figure.rows] == [1, 2, 2]
    assert figure.rows[0][:2] == (0.0, 1.0)
