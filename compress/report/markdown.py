"""report.md: the run on one page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from compress.bench import report as elsewhere
from compress.report.summary import counted, counted_ratio, headline
from compress.report.tables import markdown, rows, size

_FEW = 4


def render(report: dict[str, Any]) -> str:
    """The page from the content of ``report.json``."""
    base, final = report["baseline"], report["final"]
    machine = report["machine"]
    steps = rows(report)
    low, high = final["score_test_interval"]
    ratio = final[counted_ratio(report["metric"])]
    lines = [
        f"# {report['recipe']['name']}",
        "",
        headline(report),
        "",
        f"Final model: **{final['label']}**, score_test **{final['score_test']:.3f}** "
        f"(95 % {low:.3f} to {high:.3f}; the baseline scores {base['score_test']:.3f}, lower is better), "
        f"F1 {base['f1_test']:.3f} -> {final['f1_test']:.3f}, time x{ratio:.3f}, "
        f"{size(base['bytes'])} -> {size(final['bytes'])}.",
        "",
        markdown(steps),
        "",
        f"Runtime {report['runtime']}, batch 1, {report['recipe']['runtime'].get('threads', 1)} thread, on "
        f"{machine['cpu']}. Ratios are paired with the baseline in one interleaved run. "
        f"{counted(report['metric'])}Gates decide on val; test decides nothing.",
        "",
        *(
            f"In place of the recipe's {part}, from Python: {what}.\n"
            for part, what in report["given"].items()
        ),
        "## Why",
        "",
        *(f"- **{row['label']}**: {row['why']}" for row in steps),
        "",
        "## What the stages did",
        "",
        *(line for row in steps[1:] for line in _notes(row["label"], row["notes"])),
    ]
    if report["data_notes"]:
        lines += ["", "## The data", "", *(f"- {note}" for note in report["data_notes"])]
    if report["require"]:
        lines += ["", "## Constraints", "", *(f"- {one['line']}" for one in report["require"])]
    others = ", ".join(_in_runtime(kind, ms) for kind, ms in report["other_runtimes_ms"].items())
    if others:
        lines += ["", f"The final model in every runtime installed here: {others}."]
    for entry in report.get("elsewhere", []):
        lines += ["", f"## Elsewhere: {elsewhere.title(entry)}", "", elsewhere.markdown(entry)]
        lines += ["", elsewhere.remarks(entry)]
    return "\n".join(lines) + "\n"


def _notes(label: str, notes: Sequence[str]) -> list[str]:
    """A few notes as a list; many folded, where Markdown is shown as on GitHub."""
    if len(notes) <= _FEW:
        return [f"- {label}: {note}" for note in notes]
    head = f"<details><summary>{label}: {escape(notes[0])} ({len(notes) - 1} more)</summary>"
    return ["", head, "", *(f"- {note}" for note in notes[1:]), "", "</details>", ""]


def _in_runtime(kind: str, ms: float | None) -> str:
    return f"{kind} {'cannot run it' if ms is None else f'{ms:.3f} ms'}"
