"""Times that another machine took of a run's artifacts, in the run's report: a ranking of its own.

Artifacts are matched by the content of their files. F1 is the run's; times, and ratios to the run's
baseline, are all of that one session on that one machine, and so is the score: of the time that the run's
metric counts, relative to the model that it compares with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.bench.result import Bench, Timed, read_bench
from compress.errors import InputError
from compress.runtimes.folder import MANIFEST, Artifact

_TIMES = ("ms", "p10", "p90", "ratio", "95 %")
_WHOLE = ("end to end ms", "its ratio")  # only where bench had photos
_REST = ("load ms", "memory MiB", "score val", "score test")


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
        entry.get("about_score"),
        entry["warning"],
        f"Not of this run: {left_out}." if left_out else None,
    ]
    return " ".join(one[:1].upper() + one[1:].rstrip(".") + "." for one in said if one)


def head(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of its table's columns."""
    return ("stage", *_TIMES, *(_WHOLE if _end_to_end(entry) else ()), *_REST)


def cells(entry: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows below them, as text."""
    whole = _end_to_end(entry)
    return [_cells(step, first=i == 0, whole=whole) for i, step in enumerate(entry["steps"])]


def markdown(entry: Mapping[str, Any]) -> str:
    """The table of one entry."""
    names = head(entry)
    ruler = ["---", *["---:"] * (len(names) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, ruler, *cells(entry)])


def show_elsewhere(report: Mapping[str, Any]) -> None:
    """Print the table of each entry."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for entry in report["elsewhere"]:
        table = Table(title=f"elsewhere: {title(entry)}", title_justify="left", header_style="bold")
        for i, name in enumerate(head(entry)):
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
    scoring, about = _scoring(report, timing)
    return {
        "machine": timing.machine,
        "runtime": first.runtime,
        "threads": first.threads,
        "images": timing.images,
        "warning": timing.warning,
        "about_score": about,
        "steps": [
            _step(step, mine[content], first, scoring) for content, step in steps.items() if content in mine
        ],
        "left_out": [one.name for one in timing.artifacts if one.content not in steps],
    }


def _by_content(report: Mapping[str, Any], run: Path) -> dict[str, Mapping[str, Any]]:
    """The run's steps, baseline first, by the content of their artifacts; of equal ones the first."""
    found = {Artifact(run / "baseline").content: report["baseline"]}
    final = next((step for step in reversed(report["steps"]) if step["kept"]), None)
    for step in report["steps"]:
        content = step.get("content")
        if content is None and step is final:  # reports of earlier versions do not say
            content = Artifact(run / "artifact").content
        if content is not None and step["f1_val"] is not None:  # skipped: its parent's model
            found.setdefault(content, step)
    return found


def _step(step: Mapping[str, Any], timed: Timed, base: Timed, scoring: _Scoring | None) -> dict[str, Any]:
    other, whole = timed.content != base.content, timed.whole
    return {
        "label": step["label"],
        "content": timed.content,
        "latency_ms": timed.latency_ms.model_dump(),
        "latency_ratio": timed.latency_ratio,
        "latency_ratio_interval": list(timed.latency_ratio_interval),
        "tie": other and timed.ratio.tie,
        "end_to_end_ms": timed.end_to_end_ms and timed.end_to_end_ms.median,
        "end_to_end_ratio": timed.end_to_end_ratio,
        "end_to_end_tie": other and whole is not None and whole.tie,
        "load_ms": timed.load_ms,
        "memory_bytes": timed.memory_bytes,
        "bytes": timed.bytes,
        **{f"score_{split}": scoring and scoring.points(step, timed, split) for split in ("val", "test")},
    }


@dataclass(frozen=True)
class _Scoring:
    """A run's metric on the times of another machine.

    Attributes:
        metric: as the recipe states it.
        base: F1 by split and multiply-accumulates of the model that the run compares with.
        ms, ratio: its time there that counts, and relative to the first artifact's.
    """

    metric: Any
    base: Mapping[str, Any]
    ms: float
    ratio: float

    def points(self, step: Mapping[str, Any], timed: Timed, split: str) -> float:
        metric = self.metric.with_base(f1=self.base[f"f1_{split}"], time=self.ms, macs=self.base["macs"])
        time = self.ms * _counted(metric, timed)[1] / self.ratio
        points: float = metric.points(f1=step[f"f1_{split}"], time=time, macs=step["macs"])
        return points


def _scoring(report: Mapping[str, Any], timing: Bench) -> tuple[_Scoring | None, str | None]:
    """How these times are scored, and what there is to say of that: why not, if they make no score."""
    metric, first = _metric(report["metric"]), timing.artifacts[0]
    base, beside, remarks = {**report["baseline"], **(report["baseline"].get("base") or {})}, first, []
    if metric.kind == "f1_time":  # the other counts no time
        if metric.baseline is not None:
            content = _content(metric.baseline)
            found = next((one for one in timing.artifacts if one.content == content), None)
            if found is None:
                why = f"the metric compares with {metric.baseline}, which was not timed there"
                return None, f"no score: {why}; name it to bench, too"
            beside = found
            remarks.append(f"relative to {beside.name}")
        if metric.time == "end_to_end":
            if beside.whole is None:
                return None, "no score: the metric counts end-to-end time; give bench photos (--data)"
            remarks.append("by end-to-end time")
    scoring = _Scoring(metric, base, *_counted(metric, beside))
    return scoring, f"scores are {', '.join(remarks)}" if remarks else None


def _counted(metric: Any, timed: Timed) -> tuple[float, float]:
    """Median milliseconds and ratio to the first artifact, of the time that the metric counts."""
    if metric.time == "end_to_end" and timed.end_to_end_ms is not None and timed.whole is not None:
        return timed.end_to_end_ms.median, timed.whole.median
    return timed.latency_ms.median, timed.latency_ratio


def _content(path: Path) -> str | None:
    """Of the artifact in a folder, or of a run's final one; None where it is gone since."""
    found = (Artifact(one) for one in (path, path / "artifact") if (one / MANIFEST).is_file())
    return next((one.content for one in found), None)


def _metric(content: Mapping[str, Any]) -> Any:
    from pydantic import TypeAdapter, ValidationError

    from compress.measure.score import MetricSpec

    try:
        return TypeAdapter(MetricSpec).validate_python(content)
    except ValidationError as error:
        raise InputError(f"report.json: damaged metric {dict(content)}") from error


def _where(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry["machine"].get("id"), entry["runtime"], entry["threads"]


def _end_to_end(entry: Mapping[str, Any]) -> bool:
    return any(step.get("end_to_end_ms") is not None for step in entry["steps"])


def _cells(step: Mapping[str, Any], *, first: bool, whole: bool) -> tuple[str, ...]:
    times, (low, high) = step["latency_ms"], step["latency_ratio_interval"]
    memory = step["memory_bytes"]

    def ratio(value: float, tie: bool) -> str:
        return "1" if first else "tie" if tie else f"{value:.3f}"

    to_label: tuple[str, ...] = ()
    if whole:
        to_label = f"{step['end_to_end_ms']:.3f}", ratio(step["end_to_end_ratio"], step["end_to_end_tie"])
    return (
        step["label"],
        *(f"{times[name]:.3f}" for name in ("median", "p10", "p90")),
        ratio(step["latency_ratio"], step["tie"]),
        "" if first else f"{low:.3f} to {high:.3f}",
        *to_label,
        f"{step['load_ms']:,.0f}",
        "-" if memory is None else f"{memory / 2**20:,.1f}",
        *("-" if (score := step[f"score_{s}"]) is None else f"{score:.3f}" for s in ("val", "test")),
    )
