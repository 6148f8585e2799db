"""Baseline and final model of a run on any labelled folder, in one interleaved run; no torch needed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError
from compress.measure.latency import interleaved
from compress.measure.quality import Quality, quality
from compress.report.run_folder import read_report

if TYPE_CHECKING:
    from compress.predict import Predictor

_BATCH = 64


def evaluate(run: str | Path, data: str | Path) -> dict[str, Any]:
    """Score a run's baseline and final model on ``data``.

    Args:
        run: a run's folder.
        data: an ImageFolder, one folder a class; classes are matched by name.

    Returns:
        ``{"n", "baseline": {"f1", "accuracy", "f1_per_class", "latency_ms"}, "final": {...,
        "latency_ratio"}, "score"}``; the base values of the score are the baseline's here.

    Raises:
        InputError: no such run or folder, a class the models do not know, an unreadable image.
    """
    from compress.predict import load

    report = read_report(run)
    models = {
        name: load(Path(run) / folder) for name, folder in (("baseline", "baseline"), ("final", "artifact"))
    }
    files, targets = _labelled(Path(data), models["final"].labels)
    got = {name: _quality(model, files, targets) for name, model in models.items()}
    first = {name: model.decode(files[:1]) for name, model in models.items()}
    times = interleaved(
        {name: partial(model.logits, first[name]) for name, model in models.items()},
        reference="baseline",
    )
    ratio = times["final"].ratio
    base_ms, base, final = times["baseline"].median_ms, got["baseline"], got["final"]
    score = _metric(report).with_base(f1=base.f1, time=base_ms, macs=report["baseline"]["macs"])
    return {
        "n": len(files),
        "baseline": {**_figures(base), "latency_ms": base_ms},
        "final": {
            **_figures(final),
            "latency_ms": times["final"].median_ms,
            "latency_ratio": ratio.median,
            "latency_ratio_interval": [ratio.low, ratio.high],
        },
        "score": score.points(f1=final.f1, time=base_ms * ratio.median, macs=report["final"]["macs"]),
    }


def _metric(report: dict[str, Any]) -> Any:
    from pydantic import TypeAdapter

    from compress.measure.score import MetricSpec

    return TypeAdapter(MetricSpec).validate_python(report["metric"])


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


def _quality(model: Predictor, files: list[Path], targets: np.ndarray) -> Quality:
    logits = [model.logits(model.decode(files[i : i + _BATCH])) for i in range(0, len(files), _BATCH)]
    return quality(targets, np.concatenate(logits).argmax(1), model.labels)
