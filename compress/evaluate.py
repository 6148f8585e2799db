"""Baseline and final model of a run on any labelled folder, in one interleaved run; no torch needed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.decode import BadImageError, decode
from compress.data.notes import few
from compress.errors import InputError
from compress.measure.latency import interleaved
from compress.measure.quality import Quality, quality
from compress.report.run_folder import read_report

if TYPE_CHECKING:
    from compress.measure.score import Metric
    from compress.predict import Predictor

_BATCH = 64
_BAD_SHARE = 0.01  # of the files, as in training


def evaluate(run: str | Path, data: str | Path) -> dict[str, Any]:
    """Score a run's baseline and final model on ``data``.

    Args:
        run: a run's folder.
        data: an ImageFolder, one folder a class; classes are matched by name.

    Returns:
        ``{"n", "baseline": {"f1", "accuracy", "f1_per_class", "latency_ms"}, "final": {...,
        "latency_ratio"}, "score", "skipped"}``. ``n`` images were scored; ``skipped`` names the others, which
        cannot be read. With ``f1_time`` the base values of the score are the baseline's here.

    Raises:
        InputError: no such run or folder, a class the models do not know, over 1 % unreadable images.
    """
    from compress.predict import load

    report = read_report(run)
    models = {
        name: load(Path(run) / folder) for name, folder in (("baseline", "baseline"), ("final", "artifact"))
    }
    files, targets = _labelled(Path(data), models["final"].labels)
    logits, read, skipped = _logits(models, files, Path(data))
    got = {name: quality(targets[read], out.argmax(1), models[name].labels) for name, out in logits.items()}
    first = {name: model.decode([files[read[0]]]) for name, model in models.items()}
    times = interleaved(
        {name: partial(model.logits, first[name]) for name, model in models.items()},
        reference="baseline",
        cores=models["final"].runtime.threads,
    )
    ratio = times["final"].ratio
    base_ms, base, final = times["baseline"].median_ms, got["baseline"], got["final"]
    score = _metric(report).with_base(f1=base.f1, time=base_ms, macs=report["baseline"]["macs"])
    return {
        "n": len(read),
        "baseline": {**_figures(base), "latency_ms": base_ms},
        "final": {
            **_figures(final),
            "latency_ms": times["final"].median_ms,
            "latency_ratio": ratio.median,
            "latency_ratio_interval": [ratio.low, ratio.high],
        },
        "score": score.points(f1=final.f1, time=base_ms * ratio.median, macs=report["final"]["macs"]),
        "skipped": skipped,
    }


def _metric(report: dict[str, Any]) -> Metric:
    """The run's metric; a time or F1 of other images, or of another machine, is no base here."""
    from pydantic import TypeAdapter, ValidationError

    from compress.measure.score import F1Time, MetricSpec

    try:
        metric: Metric = TypeAdapter(MetricSpec).validate_python(report["metric"])
    except ValidationError as error:
        raise InputError(f"report.json: damaged metric {report['metric']}") from error
    if isinstance(metric, F1Time):
        return metric.model_copy(update={"f1_base": None, "time_base": None})
    return metric


def _figures(got: Quality) -> dict[str, Any]:
    return {"f1": got.f1, "accuracy": got.accuracy, "f1_per_class": got.f1_per_class}


def _labelled(data: Path, labels: tuple[str, ...]) -> tuple[list[Path], np.ndarray]:
    """Files and class indices of an ImageFolder; hidden files are passed over."""
    if not data.is_dir():
        raise InputError(f"--data {data}: no such folder")
    folders = sorted(p for p in data.iterdir() if p.is_dir() and not p.name.startswith("."))
    unknown = [p.name for p in folders if p.name not in labels]
    if unknown or not folders:
        found = f"found {', '.join(unknown)}" if unknown else "found no class folder"
        raise InputError(f"--data {data}: {found}; expected folders named {', '.join(labels)}")
    pairs = [
        (file, labels.index(folder.name))
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.is_file() and not file.name.startswith(".")
    ]
    if not pairs:
        raise InputError(f"--data {data}: the class folders are empty")
    return [file for file, _ in pairs], np.array([target for _, target in pairs])


def _logits(
    models: dict[str, Predictor], files: list[Path], data: Path
) -> tuple[dict[str, np.ndarray], list[int], list[str]]:
    """Logits of each model, the indices of the files they are for, and a line for each unreadable file."""
    read: list[int] = []
    bad: list[str] = []
    out: dict[str, list[np.ndarray]] = {name: [] for name in models}
    for start in range(0, len(files), _BATCH):
        good: list[dict[int, np.ndarray]] = []  # by size: decoded once where the models agree
        for i in range(start, min(start + _BATCH, len(files))):
            try:
                good.append({size: decode(files[i], size) for size in {m.size for m in models.values()}})
            except BadImageError as error:
                bad.append(f"{files[i].relative_to(data)}: {error.reason}")
            else:
                read.append(i)
        for name, model in models.items():
            if good:
                out[name].append(model.logits(np.stack([pixels[model.size] for pixels in good])))
    if len(bad) > _BAD_SHARE * len(files):
        raise InputError(
            f"--data {data}: {len(bad)} of {len(files)} files are unreadable, more than the 1 % that may "
            f"be skipped: {few(bad)}"
        )
    return {name: np.concatenate(parts) for name, parts in out.items()}, read, bad
