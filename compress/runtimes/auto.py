"""``auto``: the fastest installed runtime that gives this net's own answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compress.errors import CompressError
from compress.runtimes.base import Artifact, Runtime
from compress.runtimes.kinds import BY_KIND
from compress.spec import Spec

if TYPE_CHECKING:
    import numpy as np

    from compress.measure.latency import Timings
    from compress.net import Net

Kind = Literal["onnxruntime", "openvino", "ncnn", "torch", "tensorrt"]


@dataclass(frozen=True)
class Candidate:
    """What became of one runtime; ``str()`` is its line for the log.

    Attributes:
        kind: of the runtime.
        ms: median of one image; None when it was not timed.
        agreement: share of the images with the label PyTorch gives; None when it was not exported.
        chosen: whether it is the one.
        reason: why, or why not.
    """

    kind: str
    ms: float | None
    agreement: float | None
    chosen: bool
    reason: str

    def __str__(self) -> str:
        time = "        -" if self.ms is None else f"{self.ms:6.3f} ms"
        return f"{self.kind:<12} {time}  {'chosen: ' if self.chosen else ''}{self.reason}"


class AutoRuntime(Spec):
    """Resolved once, on the baseline: every ratio of a run is then taken in that one runtime."""

    kind: Literal["auto"] = "auto"
    threads: int = Field(1, ge=1, description="Intra-op threads.")
    candidates: tuple[Kind, ...] | None = Field(
        None, min_length=1, description="Runtimes to try, those not installed are passed over; null: all."
    )

    def check(self) -> list[str]:
        """A line when no candidate is installed."""
        missing = [runtime.missing(export=True) for runtime in self._runtimes()]
        if not all(missing):
            return []
        return [f"none of the candidates can be used: {'; '.join(line for line in missing if line)}"]

    def resolve(self, net: Net, images: np.ndarray) -> tuple[Runtime, tuple[Candidate, ...]]:
        """Export ``net`` to every candidate, check each against PyTorch, time those that agree.

        Args:
            images: uint8 N x H x W x 3 at the net's size; real ones.

        Returns:
            The fastest that agrees, and what became of each candidate.

        Raises:
            CompressError: none can run this net; the line says why for each.
        """
        runtimes = self._runtimes()
        found, timings = _tried(net, runtimes, images)
        if timings is None:
            why = "; ".join(f"{c.kind}: {c.reason}" for c in found)
            raise CompressError(f"no runtime can run this net ({why})")
        best = _fastest(timings)
        rows = []
        for row in found:
            if row.kind in timings:
                timing = timings[row.kind]
                ratio = timings.ratio(row.kind, best)
                reason = f"{ratio.median:.2f} times the fastest{', a tie' if ratio.tie else ''}"
                if row.kind == best:
                    reason = f"the fastest that agrees{f'; {timing.warning}' if timing.warning else ''}"
                row = replace(row, ms=timing.median_ms, chosen=row.kind == best, reason=reason)
            rows.append(row)
        return next(r for r in runtimes if r.kind == best), tuple(rows)

    def _runtimes(self) -> list[Runtime]:
        return [BY_KIND[kind](kind=kind, threads=self.threads) for kind in self.candidates or BY_KIND]


def _fastest(timings: Timings) -> str:
    """A tie keeps the earlier candidate: a later one must be faster, and not only seem so."""
    best, *others = timings
    for kind in others:
        if timings.ratio(kind, best).faster:
            best = kind
    return best


def by_kind(kind: str) -> type[Runtime]:
    """The class of a resolved runtime, from its ``kind``."""
    return BY_KIND[kind]


def times_everywhere(net: Net, images: np.ndarray, threads: int = 1) -> dict[str, float | None]:
    """Median milliseconds of one image in every runtime that is installed, in one interleaved run.

    None where a runtime cannot run the net, or disagrees with PyTorch on ``images``.
    """
    every = [cls(kind=kind, threads=threads) for kind, cls in BY_KIND.items()]
    runtimes = [runtime for runtime in every if runtime.missing(export=True) is None]
    _, timings = _tried(net, runtimes, images)
    return {r.kind: timings[r.kind].median_ms if timings and r.kind in timings else None for r in runtimes}


def _tried(net: Net, runtimes: list[Runtime], images: np.ndarray) -> tuple[list[Candidate], Timings | None]:
    """Export, compare, time: what became of each, and the times of those that agree, if any."""
    import numpy as np

    from compress.measure.latency import Loads, interleaved
    from compress.runtimes.deploy import compare, eager_logits, export_net
    from compress.runtimes.onnx_export import first_line

    one, reference = np.array(images[:1]), eager_logits(net, images)
    found: list[Candidate] = []
    runs: dict[str, Callable[[], object] | Loads] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for runtime in runtimes:
            kind = runtime.kind
            if (why := _unfit(net, runtime)) is not None:
                found.append(Candidate(kind, None, None, False, why))
                continue
            try:
                artifact = export_net(net, runtime, folder / kind)
                runtime.load(artifact, batch=1)(one)
                parity = compare(runtime, artifact, reference, images)
            except Exception as error:  # each runtime raises its own
                why = str(error) if isinstance(error, CompressError) else first_line(error)
                found.append(Candidate(kind, None, None, False, f"fails: {why.splitlines()[0]}"))
                continue
            if not parity.ok:
                found.append(Candidate(kind, None, parity.agreement, False, f"disagrees: {parity.line}"))
                continue
            found.append(Candidate(kind, None, parity.agreement, False, ""))
            runs[kind] = Loads(partial(_call, runtime, artifact, one))
        if not runs:
            return found, None
        return found, interleaved(runs, reference=next(iter(runs)), cores=runtimes[0].threads)


def _unfit(net: Net, runtime: Runtime) -> str | None:
    if (line := runtime.missing(export=True)) is not None:
        return line
    if net.quant is not None and not type(runtime).int8:
        return "has no int8"
    return None


def _call(runtime: Runtime, artifact: Artifact, one: np.ndarray) -> Callable[[], object]:
    from compress.measure.sections import bound

    return bound(runtime.load(artifact, batch=1), one)
