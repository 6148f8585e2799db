"""report.html: one self-contained file, readable offline, on a phone, in light and dark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import yamlio
from compress.bench import report as elsewhere
from compress.report import html
from compress.report.charts.effects import effects
from compress.report.figures import figures
from compress.report.html import Cell, Column
from compress.report.marks import Figure
from compress.report.photos import embedded
from compress.report.shapes import factorised
from compress.report.summary import counted, counts_whole_path, headline, tiles
from compress.report.tables import FIELDS, TO_LABEL, dropped, rows, verdict


def render(report: Mapping[str, Any], folder: Path) -> str:
    """The page from the content of ``report.json``; thumbnails come from ``folder``."""
    drawn, earned = figures(report), _ablation(report, folder)
    shapes = report.get("shapes") or {"baseline": [], "final": []}
    ranks = factorised(shapes["baseline"], shapes["final"])
    steps = rows(report)
    present = {
        "ablation": earned is not None,
        "layers": "time-by-kind" in drawn,
        "photos": bool(report.get("flips")),
        "widths": "widths" in drawn or bool(ranks),
        "data": bool(report["data_notes"]),
        "elsewhere": bool(report.get("elsewhere")),
    }
    sections = [(id, heading) for id, heading in _SECTIONS if present.get(id, True)]
    return html.render(
        "report.html",
        report=report,
        folder=folder,
        sections=sections,
        headline=headline(report),
        tiles=tiles(report),
        figures=drawn,
        cost="MACs" if report["metric"]["kind"] == "f1_macs" else "time",
        steps=[{**row, "verdict": verdict(row)} for row in steps],
        counted=counted(report["metric"]),
        table_of_steps=steps_table(steps, counts_whole_path(report["metric"])),
        effects=earned,
        ranks=_ranks(ranks),
        photo=lambda file: embedded(folder, file),
        recipe=yamlio.dump(dict(report["recipe"])),
        elsewhere=[_elsewhere(entry) for entry in report.get("elsewhere", [])],
    )


_SECTIONS = (
    ("stages", "Stages"),
    ("score", "Score by stage"),
    ("ablation", "Ablation"),
    ("f1-and-time", "F1 against time"),
    ("layers", "Where the time goes"),
    ("classes", "Classes"),
    ("photos", "Photos that flipped"),
    ("widths", "Widths and ranks"),
    ("data", "The data"),
    ("elsewhere", "On other machines"),
    ("recipe", "Recipe"),
    ("machine", "Machine"),
    ("again", "Run it again"),
)


_DECIDE = ("data", "model", "train", "metric", "stages")  # what an effect is of


def _ablation(report: Mapping[str, Any], folder: Path) -> Figure | None:
    """The effects of this recipe's stages in its runtime, where ``<folder>-ablation`` has measured them."""
    if report["given"]:  # an ablation does not say what it was given
        return None
    file = folder.with_name(f"{folder.name}-ablation") / "ablation.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        recipes = content["recipe"], report["recipe"]
        same = all(recipes[0][key] == recipes[1][key] for key in _DECIDE)
        return effects([e for e in content["effects"] if e["runtime"] == report["runtime"]]) if same else None
    except (OSError, ValueError, LookupError, TypeError):  # none, or one that is being written
        return None


def _elsewhere(entry: Mapping[str, Any]) -> tuple[str, list[Column], list[html.Row], str]:
    columns = [Column(name, text=not i) for i, name in enumerate(elsewhere.head(entry))]
    lines = [html.Row(tuple(map(Cell, line))) for line in elsewhere.cells(entry)]
    return elsewhere.title(entry), columns, lines, elsewhere.remarks(entry)


def steps_table(steps: Sequence[Mapping[str, Any]], whole_path: bool) -> tuple[list[Column], list[html.Row]]:
    """The table of steps for the page; the final model's row is marked.

    The time from photo to label is there if ``whole_path``, as the score counts it: a tile has it anyway, and
    the page is no wider than the other columns.
    """
    fields = [field for field in FIELDS if whole_path or field is not TO_LABEL]
    columns = [Column(f.name, text=i < 2, title=f.title) for i, f in enumerate(fields)]
    final = [row for row in steps if row["kept"]][-1]  # labels may repeat
    lines = []
    for row in steps:
        style = "dropped" if dropped(row) else "final" if row is final else ""
        lines.append(html.Row(tuple(Cell(f.text(row), html.key(f.value(row))) for f in fields), style))
    return columns, lines


def _ranks(found: Sequence[Mapping[str, Any]]) -> tuple[list[Column], list[html.Row]]:
    columns = [
        Column("layer", text=True),
        Column("kind", text=True),
        Column("channels, the ranks between", text=True),
        Column("weights dense"),
        Column("weights now"),
        Column("share"),
    ]
    lines = [
        html.Row(
            (
                Cell(one["layer"]),
                Cell(one["kind"]),
                Cell(" \u2192 ".join(map(str, one["chain"]))),
                Cell(f"{one['dense']:,}", one["dense"]),
                Cell(f"{one['weights']:,}", one["weights"]),
                Cell(f"{one['weights'] / one['dense']:.0%}", one["weights"] / one["dense"]),
            )
        )
        for one in found
    ]
    return columns, lines
