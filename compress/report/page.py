"""report.html: one self-contained file, readable offline, in light and dark."""

from __future__ import annotations

from typing import Any

from compress.report.figures import f1_against_time, waterfall
from compress.report.tables import COLUMNS, dropped, number, rows


def render(report: dict[str, Any]) -> str:
    """The page from the content of ``report.json``."""
    from jinja2 import Environment, PackageLoader

    steps, score = rows(report), number("{:.3f}")
    base = report["baseline"]["f1_per_class"]
    per_class = [(name, score(base[name]), score(f1)) for name, f1 in report["final"]["f1_per_class"].items()]
    environment = Environment(loader=PackageLoader("compress.report"), autoescape=True, trim_blocks=True)
    page: str = environment.get_template("report.html").render(
        report=report,
        rows=steps,
        columns=[name for name, _ in COLUMNS],
        cells=[[cell(row) for _, cell in COLUMNS] for row in steps],
        dropped=dropped,
        per_class=per_class,
        figures=[waterfall(steps), f1_against_time(steps)],
    )
    return page
