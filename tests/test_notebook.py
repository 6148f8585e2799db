"""The example notebook runs from top to bottom, and shows what it says it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: extra test")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: extra test")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: extra test")

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def _shown(cell: Any, kind: str) -> str:
    """What a cell shows, of one MIME type."""
    return "".join(str(out.get("data", {}).get(kind, out.get("text", ""))) for out in cell.outputs)


def test_nothing_but_input_is_kept_in_git() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        for cell in book.cells:
            assert not cell.get("outputs"), path
            assert cell.get("execution_count") is None, path


@pytest.mark.timeout(300)
def test_the_quickstart_notebook_runs(tmp_path: Path) -> None:
    book = nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4)
    tests = str(Path(__file__).parent)  # nets are timed briefly
    brief = f"import sys; sys.path.insert(0, {tests!r}); from hurry import hurry; hurry(setattr)"
    book.cells.insert(0, nbformat.v4.new_code_cell(brief))
    client = nbclient.NotebookClient(
        book, timeout=250, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises for a cell that does
    cells = {cell.source.split("\n")[-1]: cell for cell in book.cells if cell.cell_type == "code"}
    ran = next(cell for last, cell in cells.items() if "steps.append" in last)
    lines = _shown(ran, "text/plain").splitlines()
    assert [line.split(":")[0] for line in lines] == ["baseline", "prune", "distill"]
    html = _shown(cells["table(steps)"], "text/html")
    assert html.count("<tr>") == 4
    assert "score test" in html
    assert _shown(cells['drawn["score-val"]'], "image/svg+xml").startswith("<svg")
    effects = _shown(cells["ablation.effects"], "text/html")
    assert "prune" in effects
    assert "distill" in effects
    predicted = _shown(book.cells[-1], "text/plain")
    assert predicted.count("(") >= 5
    assert (tmp_path / "runs/notebook/report.html").is_file()
