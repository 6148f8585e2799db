"""``auto``: the fastest installed runtime that gives this net's own answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compress.errors import CompressError
from compress.runtimes.base import Runtime
from compress.runtimes.kinds import BY_KIND
from compress.spec import Spec

if TYPE_CHECKING:
    import numpy as np

    from compress.measure.latency import Timing
    from compress.net import Net

Kind = Literal["onnxruntime", "openvino", "torch"]


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
    candidates: tuple[Kind, ...] = Field(
        ("onnxruntime", "openvino", "torch"), min_length=1, description="Runtimes to try, if installed."
    )

    def resolve(self, net: Net, images: np.ndarray) -> tuple[Runtime, tuple[Candidate, ...]]:
        """Export ``net`` to every candidate, check each against PyTorch, time those that agree.

        Args:
            images: uint8 N x H x W x 3 at the net's size; real ones.

        Returns:
            The fastest that agrees, and what became of each candidate.

        Raises:
            CompressError: none can run this net; the line says why for each.
        """
        runtimes = [BY_KIND[kind](kind=kind, threads=self.threads) for kind in self.candidates]
        found, timings = _tried(net, runtimes, images)
        if not timings:
            why = "; ".join(f"{c.kind}: {c.reason}" for c in found)
            raise CompressError(f"no runtime can run this net ({why})")
        best = min(timings, key=lambda kind: timings[kind].ratio.median)
        rows = []
        for row in found:
            if row.kind in timings:
                timing = timings[row.kind]
                times = timing.ratio.median / timings[best].ratio.median
                reason = "the fastest that agrees" if row.kind == best else f"{times:.2f} times the fastest"
                row = replace(row, ms=timing.median_ms, chosen=row.kind == best, reason=reason)
            rows.append(row)
        return next(r for r in runtimes if r.kind == best), tuple(rows)


def by_kind(kind: str) -> type[Runtime]:
    """The class of a resolved runtime, from its ``kind``."""
    return BY_KIND[kind]


def times_everywhere(net: Net, images: np.ndarray | None = None, threads: int = 1) -> dict[str, float | None]:
    """Median milliseconds of one image in every runtime there is, in one interleaved run.

    None where a runtime is not installed, cannot run the net, or (with ``images``) disagrees with PyTorch.
    """
    runtimes = [cls(kind=kind, threads=threads) for kind, cls in BY_KIND.items()]
    _, timings = _tried(net, runtimes, images)
    return {r.kind: timings[r.kind].median_ms if r.kind in timings else None for r in runtimes}


def _tried(
    net: Net, runtimes: list[Runtime], images: np.ndarray | None
) -> tuple[list[Candidate], dict[str, Timing]]:
    """Export, compare, time: what became of each, and the times of those that agree (first one = 1)."""
    import numpy as np

    from compress.measure.latency import interleaved
    from compress.runtimes.deploy import compare, eager_logits, export_net

    size = net.preprocess.size
    one = np.zeros((1, size, size, 3), np.uint8) if images is None else np.array(images[:1])
    reference = None if images is None else eager_logits(net, images)
    found: list[Candidate] = []
    runs: dict[str, Callable[[], object]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for runtime in runtimes:
            kind = runtime.kind
            if (why := _unfit(net, runtime)) is not None:
                found.append(Candidate(kind, None, None, False, why))
                continue
            try:
                artifact = export_net(net, runtime, folder / kind)
                run = runtime.load(artifact, batch=1)
                run(one)
            except (CompressError, RuntimeError) as error:  # the runtimes' C++ raises RuntimeError
                found.append(Candidate(kind, None, None, False, f"fails: {str(error).splitlines()[0]}"))
                continue
            agreement = None
            if reference is not None and images is not None:
                parity = compare(runtime, artifact, reference, images)
                agreement = parity.agreement
                if not parity.ok:
                    found.append(Candidate(kind, None, agreement, False, f"disagrees: {parity.line}"))
                    continue
            found.append(Candidate(kind, None, agreement, False, ""))
            runs[kind] = _call(run, one)
        timings = interleaved(runs, reference=next(iter(runs)), cores=runtimes[0].threads) if runs else {}
    return found, timings


def _unfit(net: Net, runtime: Runtime) -> str | None:
    if (line := runtime.missing()) is not None:
        return line
    if net.quant is not None and not type(runtime).int8:
        return "has no int8"
    return None


def _call(run: Callable[[np.ndarray], np.ndarray], one: np.ndarray) -> Callable[[], object]:
    return lambda: run(one)
