"""A finished run's final model in another format."""

from __future__ import annotations

from pathlib import Path

from compress.errors import InputError
from compress.outputs import check_output
from compress.report.run_folder import read_report

FORMATS = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "torch": "torch",
    "tensorrt": "tensorrt",
}


def export_run(run: str | Path, to: str, out: str | Path) -> Path:
    """Export ``run``'s final net to the new folder ``out``, for the run's number of threads.

    Raises:
        InputError: unknown format, an unfinished run, a runtime that is not installed, or one that
            cannot hold int8.
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: unknown format; one of {', '.join(FORMATS)}")
    threads = read_report(run)["recipe"]["runtime"]["threads"]
    check_output(out, "--out", folder=True)
    from compress.models.checkpoint import load_net
    from compress.runtimes.auto import by_kind
    from compress.runtimes.base import Artifact
    from compress.runtimes.deploy import export_net

    runtime = by_kind(FORMATS[to])(kind=FORMATS[to], threads=threads)
    if line := runtime.missing(export=True):
        raise InputError(line)
    net = load_net(Path(run) / "net.pt")
    if net.quant is not None and not type(runtime).int8:
        raise InputError(f"--to {to}: this run's final model is int8, which {runtime.kind} cannot hold")
    scored = Artifact(Path(run) / "artifact").meta["preprocess"]  # the pixels that it was scored on
    return export_net(net, runtime, Path(out), scored.get("decode", "reference")).path
