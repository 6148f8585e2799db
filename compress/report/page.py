"""report.html: one self-contained file, readable offline, in light and dark."""

from __future__ import annotations

from typing import Any

from compress.report.figures import f1_against_time, waterfall
from compress.report.tables import COLUMNS


def render(report: dict[str, Any]) -> str:
    """The page from the content of ``report.json``."""
    from jinja2 import Environment, PackageLoader

    rows = [report["baseline"], *report["steps"]] + ([report["control"]] if report["control"] else [])
    environment = Environment(loader=PackageLoader("compress.report"), autoescape=True, trim_blocks=True)
    page: str = environment.get_template("report.html").render(
        report=report,
        rows=rows,
        columns=[name for name, _ in COLUMNS],
        cells=[[cell(row) for _, cell in COLUMNS] for row in rows],
        figures=[waterfall(rows), f1_against_time(rows)],
    )
    return page
