"""Baseline and final model of a run on any labelled folder, in one interleaved run; no torch needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.decode import BadImageError
from compress.data.fast import How, decoder
from compress.data.notes import few
from compress.data.scan import class_files
from compress.errors import InputError
from compress.folders import model_folder
from compress.measure.endtoend import KINDS, one_call, spread, timeable
from compress.measure.latency import Loads, interleaved
from compress.measure.quality import Quality, f1_difference_interval, quality, score_interval
from compress.outside import Outside
from compress.report.run_folder import read_report

if TYPE_CHECKING:
    from compress.measure.latency import Timing
    from compress.measure.score import Metric
    from compress.predict import Predictor

_BATCH = 64
_TIMED = 16  # files, spread over the folder
_BAD_SHARE = 0.01  # of the files, as in training


def evaluate(run: str | Path, data: str | Path) -> dict[str, Any]:
    """Score a run's baseline and final model on ``data``, files decoded as each model was scored with.

    Args:
        run: a run's folder.
        data: an ImageFolder, one folder a class; classes are matched by name.

    Returns:
        ``{"n", "baseline": {"f1", "f1_interval", "accuracy", "f1_per_class", "latency_ms", "end_to_end_ms"},
        "final": {..., "f1_change_interval", "latency_ratio", "latency_ratio_interval", "end_to_end_ratio",
        "end_to_end_ratio_interval"}, "score", "score_interval", "skipped", "absent", "absent_predicted",
        "warning"}``. ``n`` images were scored; ``skipped`` names the others, which cannot be read; ``absent``
        are classes without a readable image here, ``absent_predicted`` how many images either model takes for
        one of these; ``warning`` says why the times are to be taken with care, or is None. Intervals are of
        95 %, the change of F1 and the score paired on the same resampled images. With ``f1_time`` the base
        values of the score are the baseline's here, or those of the model that the recipe's
        ``metric.baseline`` names.

    Raises:
        InputError: no such run or folder, a class the models do not know, over 1 % unreadable images.
    """
    from compress.predict import load

    report = read_report(run)
    metric = _metric(report)
    models = {
        name: load(model_folder(Path(run), folder))
        for name, folder in (("baseline", "baseline"), ("final", "artifact"))
    }
    labels, threads = models["final"].labels, models["final"].runtime.threads
    base, macs = "baseline", report["baseline"]["macs"]
    if (outside := Outside.of(metric, labels, threads)) is not None:
        models["base"], base, macs = outside.model, "base", outside.macs
    files, targets = _labelled(Path(data), labels)
    logits, read, skipped = _logits(models, files, Path(data))
    got = {
        name: quality(targets[read], _ordered(out, models[name].labels, labels).argmax(1), labels)
        for name, out in logits.items()
    }
    photos = timeable([files[read[i]].read_bytes() for i in spread(len(read), _TIMED)])
    times = _times(models, photos, base, threads)
    counted = times[metric.time]
    base_ms = counted[base].median_ms
    ratio, final_macs = counted["final"].ratio, report["final"]["macs"]
    score = metric.with_base(f1=got[base].f1, time=base_ms, macs=macs).points(
        f1=got["final"].f1, time=base_ms * ratio.median, macs=final_macs
    )
    said = {name: one.predictions for name, one in got.items()}
    span = score_interval(
        metric, targets[read], said["final"], said[base], ratio,
        base_time=base_ms, macs=final_macs, base_macs=macs,
    )  # fmt: skip
    seen = set(targets[read].tolist())
    absent = [i for i in range(len(labels)) if i not in seen]
    return {
        "n": len(read),
        "baseline": _figures("baseline", got, times),
        "final": {
            **_figures("final", got, times),
            "f1_change_interval": f1_difference_interval(targets[read], said["final"], said["baseline"]),
            **_ratios("latency", times["model"]["final"]),
            **_ratios("end_to_end", times["end_to_end"]["final"]),
        },
        "score": score,
        "score_interval": span,
        "skipped": skipped,
        "absent": [labels[i] for i in absent],
        "absent_predicted": {
            name: np.isin(said[name], absent).sum().item() for name in ("baseline", "final")
        },
        "warning": next((t.warning for kind in KINDS for t in times[kind].values() if t.warning), None),
    }


def lines(result: dict[str, Any], data: Path) -> list[str]:
    """What ``evaluate`` gave, as the terminal shows it."""
    found = [f"skipped {line}" for line in result["skipped"]]
    if result["absent"]:
        taken = [f"{name} {n} times" for name, n in result["absent_predicted"].items() if n]
        f1 = f"; macro F1 counts what is predicted all the same as 0: {', '.join(taken)}" if taken else ""
        found.append(f"no image of {', '.join(result['absent'])} in {data}{f1}")
    for name in ("baseline", "final"):
        one = result[name]
        found.append(
            f"{name}: F1 {one['f1']:.4f} ({_span(one['f1_interval'])}), accuracy {one['accuracy']:.4f}, "
            f"{one['latency_ms']:.3f} ms, {one['end_to_end_ms']:.3f} ms from file to label"
        )
    final = result["final"]
    low, high = final["f1_change_interval"]
    change = final["f1"] - result["baseline"]["f1"]
    found += [
        f"F1 {change:+.4f} ({low:+.3f} to {high:+.3f}{', may be noise' if low <= 0 <= high else ''})",
        f"time x{final['latency_ratio']:.3f} ({_ratio_span(final['latency_ratio_interval'])}), file to label "
        f"x{final['end_to_end_ratio']:.3f} ({_ratio_span(final['end_to_end_ratio_interval'])})",
        f"score {result['score']:.4f} ({_span(result['score_interval'])}) on {result['n']} images; in "
        "brackets 95 %",
    ]
    if result["warning"]:
        found.append(f"warning: {result['warning']}")
    return found


def _span(interval: Sequence[float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def _ratio_span(interval: Sequence[float]) -> str:
    return _span(interval) + (", a tie" if interval[0] <= 1 <= interval[1] else "")


def _times(
    models: dict[str, Predictor], photos: list[bytes], base: str, threads: int
) -> dict[str, dict[str, Timing]]:
    """Each kind of time in one interleaved run: ratios to ``base``, and to the run's own baseline."""
    return {
        kind: interleaved(
            {name: Loads(partial(one_call, kind, model, photos)) for name, model in models.items()},
            reference=base,
            against="baseline",
            cores=threads,
        )
        for kind in KINDS
    }


def _ratios(name: str, timing: Timing) -> dict[str, Any]:
    ratio = timing.ratio_against
    return {f"{name}_ratio": ratio.median, f"{name}_ratio_interval": [ratio.low, ratio.high]}


def _ordered(logits: np.ndarray, labels: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Columns in the order of ``wanted``."""
    return logits[:, [labels.index(label) for label in wanted]]


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


def _figures(name: str, got: dict[str, Quality], times: dict[str, dict[str, Timing]]) -> dict[str, Any]:
    one = got[name]
    return {
        "f1": one.f1,
        "f1_interval": one.interval,
        "accuracy": one.accuracy,
        "f1_per_class": one.f1_per_class,
        "latency_ms": times["model"][name].median_ms,
        "end_to_end_ms": times["end_to_end"][name].median_ms,
    }


def _labelled(data: Path, labels: tuple[str, ...]) -> tuple[list[Path], np.ndarray]:
    """Files and class indices of an ImageFolder, found as in training."""
    if not data.is_dir():
        raise InputError(f"--data {data}: no such folder")
    classes = class_files(data, data)
    unknown = [name for name in classes if name not in labels]
    if unknown or not classes:
        found = f"found {', '.join(unknown)}" if unknown else "found no class folder"
        raise InputError(f"--data {data}: {found}; expected folders named {', '.join(labels)}")
    pairs = [(data / file, labels.index(name)) for name, files in classes.items() for file in files]
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
        good: list[dict[tuple[int, How], np.ndarray]] = []  # decoded once where the models agree
        for i in range(start, min(start + _BATCH, len(files))):
            try:
                ways = {(m.size, m.how) for m in models.values()}
                good.append({(size, how): decoder(how)(files[i], size) for size, how in ways})
            except BadImageError as error:
                bad.append(f"{files[i].relative_to(data)}: {error.reason}")
            else:
                read.append(i)
        for name, model in models.items():
            if good:
                images = np.stack([pixels[model.size, model.how] for pixels in good])
                out[name].append(model.logits(images))
    if len(bad) > _BAD_SHARE * len(files):
        raise InputError(
            f"--data {data}: {len(bad)} of {len(files)} files are unreadable, more than the 1 % that may "
            f"be skipped: {few(bad)}"
        )
    return {name: np.concatenate(parts) for name, parts in out.items()}, read, bad
