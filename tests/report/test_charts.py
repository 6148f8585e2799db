"""Figures say the numbers of the report, and their three drawings are the same."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_samples import AFTER, CONFUSION, LABELS, SHAPES, ablation, full_report, report

from compress.report import png, svg
from compress.report.charts.classes import confusion
from compress.report.charts.effects import effects, ranking
from compress.report.charts.layers import slowest, time_by_kind, widths
from compress.report.charts.waterfall import parts, waterfall
from compress.report.figures import figures
from compress.report.marks import Bar, Dot, Figure, Text, scale, short, ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    assert len(found) <= 12
    assert found == sorted(set(found))
    assert all(low - 1e-6 * span <= t <= high + 1e-6 * span for t in found)
    if span > 1e-6 * abs(low):
        assert len(found) >= 2


def test_a_scale_maps_ends_to_ends_and_nothing_to_the_middle() -> None:
    x = scale(2.0, 4.0, 0.1, 0.9)
    assert (x(2.0), x(4.0), x(3.0)) == pytest.approx((0.1, 0.9, 0.5))
    assert scale(1.0, 1.0)(1.0) == 0.5


@given(st.text(max_size=40), st.integers(2, 30))
def test_short_names_fit(text: str, length: int) -> None:
    found = short(text, length)
    assert len(found) <= max(length, 0) or found == text
    if len(text) <= length:
        assert found == text


def test_terms_add_up_to_the_scores_and_changes_to_the_way_from_first_to_last() -> None:
    content = report()
    for step, (f1, ratio) in {"final": (0.79, 0.4)}.items():  # the score that this F1 and time really have
        value = 0.5 * ratio + 1 / (1 + 2.718281828459045 ** (-20 * (0.8 - f1)))
        content[step] = content["steps"][0] = {**content[step], "score_val": value}
    found = parts(content, "val")
    assert [part.label for part in found] == ["baseline", "prune", "spoil"]  # decompose was never measured
    assert found[0].cost == pytest.approx(0.5)
    assert found[0].f1 == pytest.approx(0.5)
    assert found[1].cost == pytest.approx(0.2)
    for part, step in zip(
        found, (content["baseline"], content["steps"][0], content["steps"][2]), strict=True
    ):
        assert part.score == pytest.approx(step["score_val"])
    figure = waterfall(found, "val", "time")
    kept = [row for row in figure.rows[1:] if row[1] == "yes"]
    assert sum(row[5] + row[6] for row in kept) == pytest.approx(found[1].score - found[0].score)
    assert "spoil" in figure.summary
    assert "not kept" in figure.summary


def test_a_bonus_that_is_negative_is_drawn_left_of_zero() -> None:
    metric = {"kind": "f1_macs", "f1_base": 0.7, "macs_base": 72.16e6, "f1_floor": 0.5, "bonus": 0.5}
    content = report(metric=metric)
    for step in (content["baseline"], content["steps"][0]):
        for split in ("val", "test"):
            step[f"score_{split}"] = step["macs"] / 72.16e6 + 0.5 * (1 - step[f"f1_{split}"] / 0.7)
    found = parts(content, "val")
    assert found[0].f1 < 0
    assert found[0].cost == pytest.approx(1.0)
    figure = figures(content)["score-val"]
    assert figure.columns[2] == "MACs term"
    xs = [x for mark in figure.marks if isinstance(mark, Bar) for x in (mark.x0, mark.x1)]
    assert min(xs) == pytest.approx(0)
    assert max(xs) <= 1


def test_widths_of_layers_that_both_nets_have() -> None:
    figure = widths(SHAPES["baseline"], SHAPES["final"])
    assert figure is not None
    assert figure.rows == (("stem.conv", "conv", 32, 16, 0.5), ("head", "linear", 3, 3, 1.0))
    assert sum(isinstance(mark, Bar) for mark in figure.marks) == 2  # the layer that changed, on its track
    assert widths(SHAPES["baseline"], SHAPES["baseline"]) is None


def test_time_by_kind_sums_layers_and_the_slowest_come_first() -> None:
    before = [
        {"name": "a", "kind": "conv", "ms": 2.0, "macs": 1},
        {"name": "b", "kind": "conv", "ms": 1.0, "macs": 1},
    ]
    after = [
        {"name": "a", "kind": "conv", "ms": 0.5, "macs": 1},
        {"name": "(net)", "kind": "copy", "ms": 0.02, "macs": 0},
        {"name": "c", "kind": "act", "ms": 0.0, "macs": 0},  # part of another layer
    ]
    assert time_by_kind(before, after).rows == (
        ("conv", 3.0, 0.5, 1.0, pytest.approx(0.5 / 0.52)),
        ("copy", 0.0, 0.02, 0.0, pytest.approx(0.02 / 0.52)),
    )
    figure = slowest(after, "final")
    assert [row[0] for row in figure.rows] == ["a", "(net)", "c"]
    texts = [mark.text for mark in figure.marks if isinstance(mark, Text)]
    assert texts == ["a", "0.5 ms, 96%", "copy (net)", "20.0 \u00b5s, 4%"]


def test_a_confusion_matrix_names_every_mistake_and_too_many_classes_are_not_drawn() -> None:
    figure = confusion(CONFUSION[AFTER], LABELS, "c", "C")
    assert figure is not None
    tips = {mark.tip for mark in figure.marks if isinstance(mark, Bar) and mark.tip}
    assert "<glass> called metal: 1 of 3" in tips
    assert "paper & co called paper & co: 3 of 3" in tips
    assert len(figure.rows) == len(tips) == 6
    many = [[int(i == j) for j in range(30)] for i in range(30)]
    assert confusion(many, [str(i) for i in range(30)], "c", "C") is None


def test_effects_left_of_zero_are_better_and_ties_are_rings() -> None:
    figure = effects(ablation()["effects"])
    assert figure is not None
    dots = [mark for mark in figure.marks if isinstance(mark, Dot)]
    assert [(dot.role, dot.hollow) for dot in dots] == [("better", False), ("muted", True), ("worse", False)]
    assert dots[0].x < dots[1].x < dots[2].x
    assert effects([]) is None
    # A tie by val, plain on test: the figure of test says what its intervals say
    plain = {"mean": -0.048, "low": -0.073, "high": -0.024}
    on_test = effects([{**ablation()["effects"][1], "verdict": "tie", "score_test": plain}], "test")
    assert on_test is not None
    (dot,) = [mark for mark in on_test.marks if isinstance(mark, Dot)]
    assert (dot.role, dot.hollow, on_test.rows[0][-1]) == ("better", False, "more than noise")
    orders = ranking(ablation()["orders"], "o", "O")
    assert orders is not None
    assert [row[0] for row in orders.rows] == [
        "prune\u2192distill\u2192quantize",
        "quantize\u2192distill\u2192prune",
    ]
    assert [row[-1] for row in orders.rows] == ["best", "behind"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    return figures(full_report(tmp_path_factory.mktemp("full")))


def test_an_svg_file_is_well_formed_and_holds_every_text(drawn: dict[str, Figure]) -> None:
    for figure in drawn.values():
        tree = ET.fromstring(svg.file(figure))
        texts = ["".join(node.itertext()) for node in tree.iter("{http://www.w3.org/2000/svg}text")]
        assert figure.title in texts
        assert [mark.text for mark in figure.marks if isinstance(mark, Text)] == texts[
            1 + len(figure.legend) :
        ]
        used = set(re.findall(r"var\(--(\w+)", svg.file(figure)))
        assert used - {"bg"} <= set(svg.LIGHT)
        assert figure._repr_svg_() == svg.file(figure)


def test_a_png_is_as_large_as_its_svg_and_shows_its_colours(drawn: dict[str, Figure]) -> None:
    figure = drawn["score-val"]
    with Image.open(io.BytesIO(png.png(figure))) as image:
        width, height = (float(v) for v in re.findall(r'(?:width|height)="([\d.]+)"', svg.file(figure))[:2])
        assert image.size == pytest.approx((1.5 * width, 1.5 * height), abs=1)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    for role in ("better", "worse", "muted", "pale"):
        red, green, blue = (int(svg.LIGHT[role][i : i + 2], 16) for i in (1, 3, 5))  # type: ignore[index]
        assert (red, green, blue) in colours, role


def test_colours_of_files_are_those_of_the_page() -> None:
    style = (Path(svg.__file__).parent / "templates/style.css").read_text()
    light = style[: style.index("}")]
    for role, colour in svg.LIGHT.items():
        assert f"--{role}: {colour};" in light
