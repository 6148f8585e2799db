"""A finished run's final model in another format."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.folders import model_folder
from compress.outputs import check_output
from compress.report.run_folder import read_report
from compress.stages.base import numbered
from compress.store import Store

if TYPE_CHECKING:
    from compress.net import Net

FORMATS = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "torch": "torch",
    "tensorrt": "tensorrt",
}


def export_run(run: str | Path, to: str, out: str | Path, step: str | None = None) -> Path:
    """Export ``run``'s final net to the new folder ``out``, for the run's number of threads.

    Args:
        step: label of a step that was kept, whose net is exported instead; it must still be in the store.

    Raises:
        InputError: unknown format or step, an unfinished run, a runtime that is not installed, or one that
            cannot hold int8.
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: unknown format; one of {', '.join(FORMATS)}")
    report = read_report(run)
    threads = report["recipe"]["runtime"]["threads"]
    check_output(out, "--out", folder=True)
    from compress.runtimes.auto import by_kind
    from compress.runtimes.deploy import export_net

    runtime = by_kind(FORMATS[to])(kind=FORMATS[to], threads=threads)
    if line := runtime.missing(export=True):
        raise InputError(line)
    net, decode = _final(Path(run)) if step is None else _of_step(report, step)
    if net.quant is not None and not type(runtime).int8:
        which = "this run's final model" if step is None else f"step {step}"
        raise InputError(
            f"--to {to}: {which} is int8, which {runtime.kind} cannot hold{_float_instead(report)}"
        )
    return export_net(net, runtime, Path(out), decode).path


def _final(run: Path) -> tuple[Net, str]:
    """The net, and the way to the pixels that it was scored on."""
    from compress.models.checkpoint import load_net
    from compress.runtimes.base import Artifact

    artifact = Artifact(model_folder(run))
    return load_net(run / "net.pt"), artifact.meta["preprocess"].get("decode", "reference")


def _of_step(report: Mapping[str, Any], label: str) -> tuple[Net, str]:
    """The same of a kept step, from the store."""
    kept = _kept(report)
    if label not in kept:
        raise InputError(f"--step {label}: no step of this run that was kept; one of {', '.join(kept)}")
    store = Store()
    net = store.net(kept[label].get("key") or "")
    if net is None:
        raise InputError(
            f"--step {label}: its net is not in {store.root}; run the recipe again, or set BEYONDNAS_STORE"
        )
    return net, kept[label].get("decode") or "reference"


def _kept(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The kept steps by label; reports of earlier versions have equal ones, which are numbered as now."""
    steps = [report["baseline"], *report["steps"]]
    labels = numbered([step["label"] for step in steps])
    return {label: step for label, step in zip(labels, steps, strict=True) if step["kept"]}


def _float_instead(report: Mapping[str, Any]) -> str:
    """How to get the last net before int8, where the run made it int8."""
    pairs = pairwise(_kept(report).items())
    before = [label for (label, _), (_, after) in pairs if after["kind"] == "quantize"]
    return f"; --step {before[0]} exports the float net before it" if before else ""
