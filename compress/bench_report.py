"""Times that another machine took of a run's artifacts, in the run's report: a ranking of its own.

Artifacts are matched by the content of their files. F1 is the run's; times, and ratios to the run's
baseline, are all of that one session on that one machine, and so is the score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.bench import Bench, Timed, read_bench
from compress.errors import InputError
from compress.runtimes.folder import Artifact

HEAD = ("stage", "ms", "p10", "p90", "ratio", "95 %", "load ms", "memory MiB", "score val", "score test")


def add_timing(report: Mapping[str, Any], run: Path, file: Path) -> dict[str, Any]:
    """The content of ``report.json`` with what ``bench --json`` wrote to ``file`` under ``elsewhere``.

    An earlier timing of the same machine with as many threads is replaced.

    Raises:
        InputError: ``file`` is none of ``bench --json``, does not time this run's baseline first, or times
            no other model of this run.
    """
    new = _entry(report, run, read_bench(file), str(file))
    others = [one for one in report["elsewhere"] if _where(one) != _where(new)]
    return {**report, "elsewhere": [*others, new]}


def still_valid(run: Path, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the ``report.json`` there now has under ``elsewhere`` of models that ``report`` has too."""
    try:
        entries = json.loads((run / "report.json").read_text(encoding="utf-8")).get("elsewhere", [])
        mine = {step.get("content") for step in (report["baseline"], *report["steps"])}
        return [one for one in entries if {step["content"] for step in one["steps"]} <= mine]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none yet, or damaged
        return []


def title(entry: Mapping[str, Any]) -> str:
    """The machine and how it timed."""
    threads = f"{entry['threads']} thread{'s' * (entry['threads'] > 1)}"
    return f"{entry['machine']['cpu']}, {entry['runtime']}, {threads}, batch 1"


def remarks(entry: Mapping[str, Any]) -> str:
    """What to know about the table."""
    left_out = ", ".join(entry["left_out"])
    said = [
        "Timed there in turns, apart from the ranking above; F1 is this run's.",
        entry["no_score"],
        entry["warning"],
        f"Not of this run: {left_out}." if left_out else None,
    ]
    return " ".join(one[:1].upper() + one[1:].rstrip(".") + "." for one in said if one)


def cells(entry: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows below ``HEAD``, as text."""
    return [_cells(step, first=i == 0) for i, step in enumerate(entry["steps"])]


def markdown(entry: Mapping[str, Any]) -> str:
    """The table of one entry."""
    ruler = ["---", *["---:"] * (len(HEAD) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [HEAD, ruler, *cells(entry)])


def show_elsewhere(report: Mapping[str, Any]) -> None:
    """Print the table of each entry."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for entry in report["elsewhere"]:
        table = Table(title=f"elsewhere: {title(entry)}", title_justify="left", header_style="bold")
        for i, name in enumerate(HEAD):
            table.add_column(name, justify="right" if i else "left", no_wrap=True)
        for line in cells(entry):
            table.add_row(*line)
        (console if console.is_terminal else Console(width=160)).print(table)
        print(remarks(entry))


def _entry(report: Mapping[str, Any], run: Path, timing: Bench, file: str) -> dict[str, Any]:
    steps = _by_content(report, run)
    baseline, first = Artifact(run / "baseline").content, timing.artifacts[0]
    if first.content != baseline:
        raise InputError(
            f"{file}: its first artifact, {first.name}, is not the baseline of {run}; on that machine: "
            f"python -m compress bench {run} --json"
        )
    mine = {one.content: one for one in reversed(timing.artifacts) if one.content in steps}
    if len(mine) < min(2, len(steps)):
        raise InputError(f"{file}: times no model of {run} but its baseline")
    why_not = _no_score(report["metric"])
    return {
        "machine": timing.machine,
        "runtime": first.runtime,
        "threads": first.threads,
        "images": timing.images,
        "warning": timing.warning,
        "no_score": why_not,
        "steps": [
            _step(step, mine[content], first, report, scored=why_not is None)
            for content, step in steps.items()
            if content in mine
        ],
        "left_out": [one.name for one in timing.artifacts if one.content not in steps],
    }


def _by_content(report: Mapping[str, Any], run: Path) -> dict[str, Mapping[str, Any]]:
    """The run's steps, baseline first, by the content of their artifacts; of equal ones the first."""
    found = {Artifact(run / "baseline").content: report["baseline"]}
    final = Artifact(run / "artifact").content  # reports of earlier versions do not say
    for step in report["steps"]:
        content = final if step["label"] == report["final"]["label"] else step.get("content")
        if content is not None and step["f1_val"] is not None:  # skipped: its parent's model
            found.setdefault(content, step)
    return found


def _step(
    step: Mapping[str, Any], timed: Timed, base: Timed, report: Mapping[str, Any], *, scored: bool
) -> dict[str, Any]:
    time = base.latency_ms.median * timed.latency_ratio
    return {
        "label": step["label"],
        "content": timed.content,
        "latency_ms": timed.latency_ms.model_dump(),
        "latency_ratio": timed.latency_ratio,
        "latency_ratio_interval": list(timed.latency_ratio_interval),
        "tie": timed.content != base.content and timed.ratio.tie,
        "load_ms": timed.load_ms,
        "memory_bytes": timed.memory_bytes,
        "bytes": timed.bytes,
        **{
            f"score_{split}": _points(step, report, split, time, base.latency_ms.median) if scored else None
            for split in ("val", "test")
        },
    }


def _points(
    step: Mapping[str, Any], report: Mapping[str, Any], split: str, time: float, base_time: float
) -> float:
    base = report["baseline"]
    metric = _metric(report["metric"]).with_base(f1=base[f"f1_{split}"], time=base_time, macs=base["macs"])
    points: float = metric.points(f1=step[f"f1_{split}"], time=time, macs=step["macs"])
    return points


def _no_score(metric: Mapping[str, Any]) -> str | None:
    """Why these times make no score, or None."""
    spec = _metric(metric)
    if spec.baseline is not None:
        return f"no score: the metric compares with {spec.baseline}, which was not timed there"
    if spec.kind == "f1_time" and spec.time == "end_to_end":
        return "no score: the metric counts end-to-end time, and bench times the model alone"
    return None


def _metric(content: Mapping[str, Any]) -> Any:
    from pydantic import TypeAdapter, ValidationError

    from compress.measure.score import MetricSpec

    try:
        return TypeAdapter(MetricSpec).validate_python(content)
    except ValidationError as error:
        raise InputError(f"report.json: damaged metric {dict(content)}") from error


def _where(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry["machine"].get("id"), entry["runtime"], entry["threads"]


def _cells(step: Mapping[str, Any], *, first: bool) -> tuple[str, ...]:
    times, (low, high) = step["latency_ms"], step["latency_ratio_interval"]
    memory = step["memory_bytes"]
    return (
        step["label"],
        *(f"{times[name]:.3f}" for name in ("median", "p10", "p90")),
        "1" if first else "tie" if step["tie"] else f"{step['latency_ratio']:.3f}",
        "" if first else f"{low:.3f} to {high:.3f}",
        f"{step['load_ms']:,.0f}",
        "-" if memory is None else f"{memory / 2**20:,.1f}",
        *("-" if (score := step[f"score_{s}"]) is None else f"{score:.3f}" for s in ("val", "test")),
    )
