"""`python -m compress calibrate`: measure this machine's latency table."""

from __future__ import annotations

from typing import Annotated

import typer


def calibrate(
    runtime: Annotated[
        str, typer.Option(help="onnxruntime, openvino, ncnn, torch or tensorrt")
    ] = "onnxruntime",
    threads: Annotated[int, typer.Option(min=1, help="Intra-op threads.")] = 1,
    probes: Annotated[int, typer.Option(min=8, help="Nets to time: more, more exact.")] = 40,
) -> None:
    """Measure the latency table of this machine: stages then predict times instead of measuring all."""
    from compress.errors import InputError
    from compress.latency_table.table import LatencyTable
    from compress.runtimes.kinds import BY_KIND

    if runtime not in BY_KIND:
        raise InputError(f"--runtime {runtime}: unknown runtime, there is {', '.join(BY_KIND)}")
    spec = BY_KIND[runtime](kind=runtime, threads=threads)
    if line := spec.missing(export=True):
        raise InputError(line)
    LatencyTable(spec).calibrate(probes, log=print)
