"""The page of an ablation's folder: which stage earned what, in which order, and what is noise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import yamlio
from compress.errors import InputError
from compress.report import html
from compress.report.charts.effects import chain_label, effects, label_of, place, ranking
from compress.report.figures import write_figures
from compress.report.html import Cell, Column, Row
from compress.report.marks import Figure, signed
from compress.store import write_text

_SECTIONS = (
    ("effects", "Effects"),
    ("orders", "Orders"),
    ("interactions", "Interactions"),
    ("chains", "All chains"),
    ("variants", "All variants"),
    ("recipe", "Recipe"),
    ("machine", "Machine"),
)
_DRAWN = 20  # chains in a figure; the table has them all


def figures(content: Mapping[str, Any]) -> dict[str, Figure]:
    """By name, from the content of ``ablation.json``."""
    found = [
        effects(content["effects"], "val"),
        effects(content["effects"], "test"),
        ranking(content["orders"], "orders-behind", "Orders of all stages: score on val behind the best"),
        ranking(content["ranking"][:_DRAWN], "chains-behind", "Chains: score on val behind the best"),
    ]
    return {figure.name: figure for figure in found if figure is not None}


def write_page(path: Path, content: Mapping[str, Any]) -> None:
    """``report.html`` and ``figures/`` of an ablation's folder."""
    drawn = figures(content)
    write_text(path / "report.html", render(content, path, drawn))
    write_figures(path, list(drawn.values()))


def rewrite(path: Path) -> Path | None:
    """Draw an ablation's page again; None where ``path`` is no ablation's folder.

    Raises:
        InputError: its ``ablation.json`` is damaged.
    """
    from jinja2 import UndefinedError

    file = path / "ablation.json"
    if not file.is_file():
        return None
    try:
        write_page(path, json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, LookupError, TypeError, UndefinedError) as error:
        raise InputError(f"{file}: damaged ({error}); run its recipe again to write it anew") from error
    return path / "report.html"


def render(content: Mapping[str, Any], folder: Path, drawn: Mapping[str, Figure]) -> str:
    """The page from the content of ``ablation.json``."""
    present = {
        "orders": "orders-behind" in drawn,
        "interactions": bool(content["interactions"]),
    }
    return html.render(
        "ablation.html",
        content=content,
        folder=folder,
        sections=[(id, heading) for id, heading in _SECTIONS if present.get(id, True)],
        figures=drawn,
        drawn=_DRAWN,
        effects=effects_table(content["effects"]),
        interactions=_interactions(content["interactions"]),
        ranking=_ranking(content["ranking"]),
        variants=_variants(content["variants"]),
        recipe=yamlio.dump(dict(content["recipe"])),
    )


def effects_table(found: Sequence[Mapping[str, Any]]) -> tuple[list[Column], list[Row]]:
    """One line for each stage: what it changes, how sure that is, and the verdict."""
    columns = [Column("stage", text=True), Column("verdict", text=True)]
    columns += [Column(name) for name in ("score val", "by F1", "by its cost", "score test")]
    columns += [Column("F1 test"), Column("time")]
    columns += [Column("contexts", title="pairs of chains that differ in this stage alone"), Column("seeds")]
    columns.append(Column("why", text=True, long=True))
    rows = [
        Row(
            (
                Cell(label_of(one, found)),
                Cell(one["verdict"]),
                _est(one["score_val"]),
                *(Cell(signed(one[name]), one[name]) for name in ("from_f1", "from_cost")),
                *(_est(one[name]) for name in ("score_test", "f1_test")),
                _est(one["time"], ratio=True),
                _count(one["contexts"]),
                _count(one["seeds"]),
                Cell(one["why"]),
            )
        )
        for one in found
    ]
    return columns, rows


def _interactions(found: Sequence[Mapping[str, Any]]) -> tuple[list[Column], list[Row]]:
    columns = [
        Column("stages", text=True),
        Column("verdict", text=True),
        Column("score val"),
        Column("score test"),
        Column("why", text=True, long=True),
    ]
    rows = [
        Row(
            (
                Cell(label_of({**one, "stage": " and ".join(one["stages"])}, found)),
                Cell(one["verdict"]),
                _est(one["score_val"]),
                _est(one["score_test"]),
                Cell(one["why"]),
            )
        )
        for one in found
    ]
    return columns, rows


def _ranking(found: Sequence[Mapping[str, Any]]) -> tuple[list[Column], list[Row]]:
    columns = [Column("chain", text=True), Column("place", text=True)]
    columns += [Column(name) for name in ("score val", "behind the best", "score test", "behind on test")]
    columns += [Column("seeds"), Column("ends with the same net", text=True, long=True)]
    rows = [
        Row(
            (
                Cell(chain_label(one, found)),
                Cell(place(one)),
                _number(one["score_val"]),
                _est(one["behind"]),
                _number(one["score_test"]),
                _est(one["behind_test"]),
                _count(one["seeds"]),
                Cell(", ".join(one["same"])),
            )
        )
        for one in found
    ]
    return columns, rows


def _variants(found: Sequence[Mapping[str, Any]]) -> tuple[list[Column], list[Row]]:
    columns = [
        Column("variant", text=True),
        Column("chain", text=True),
        Column("seed"),
        Column("runtime", text=True),
    ]
    columns += [
        Column(name) for name in ("F1 val", "F1 test", "time ratio", "score val", "score test", "seconds")
    ]
    failed = any(one["error"] for one in found)
    columns += [Column("failed", text=True, long=True)] if failed else []
    keys = ("f1_val", "f1_test", "time_ratio", "score_val", "score_test")
    rows = []
    for variant in found:
        one = {"time_ratio": variant["latency_ratio"], **variant}  # earlier versions had no other
        cells = [Cell(one["name"]), Cell(" \u2192 ".join(one["chain"]) or "baseline"), _count(one["seed"])]
        cells += [Cell(one["runtime"]), *(_number(one[key]) for key in keys)]
        cells.append(Cell(f"{one['seconds']:.0f}", one["seconds"]))
        cells += [Cell(one["error"] or "")] if failed else []
        rows.append(Row(tuple(cells)))
    return columns, rows


def _est(est: Mapping[str, Any] | None, ratio: bool = False) -> Cell:
    if est is None or est["mean"] is None:
        return Cell("-")
    form = (lambda value: f"\u00d7{value:.3f}") if ratio else signed
    span = "" if est["low"] is None else f" ({form(est['low'])} to {form(est['high'])})"
    return Cell(form(est["mean"]) + span, est["mean"])


def _number(value: float | None) -> Cell:
    return Cell("-" if value is None else f"{value:.3f}", value)


def _count(value: int) -> Cell:
    return Cell(str(value), value)
