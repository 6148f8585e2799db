"""How long each layer of an artifact takes, as the runtime's own profiler says.

A profiler slows what it watches: a small layer seems to take microseconds more than it does, and most
layers of a small net are small. Given the whole net's time, as ``compress.measure.latency`` measures it,
what the profiler adds to each kernel is taken off again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import CompressError, InputError
from compress.measure.exclusive import exclusive
from compress.runtimes.folder import Artifact

if TYPE_CHECKING:
    from compress.runtimes.base import Runtime

UNATTRIBUTED = "unattributed"
RUNS = 200
CUT_OFF = 5e-4  # milliseconds that whole microseconds lack on average when they are cut off, not rounded
WARM_UP = 20


@dataclass(frozen=True)
class Watched:
    """What a profiler reports of one layer, after ``WARM_UP`` calls that do not count.

    Attributes:
        ms: milliseconds a call, in each call or mean over a few of them.
        kernels: how many kernels that is.
    """

    ms: np.ndarray
    kernels: int


Layers = dict[tuple[str, str], Watched]  # by module and kind

# Operators as runtimes call them, in lower case, to the kinds of ``compress.ops.trace``.
_KINDS = {
    "conv": "conv conv2d fusedconv nhwcfusedconv qlinearconv convinteger convolution groupconvolution",
    "linear": "linear addmm gemm matmul fusedgemm fusedmatmul qgemm qlinearmatmul matmulinteger "
    "fullyconnected",
    "pool": "globalaveragepool averagepool maxpool reducemean pooling adaptive_avg_pool2d mean max_pool2d "
    "avg_pool2d qlinearglobalaveragepool qlinearaveragepool",
    "mul": "mul div multiply divide qlinearmul",
    "add": "add sub subtract qlinearadd",
    "act": "relu relu6 clip clamp hardtanh hardswish hswish hardsigmoid sigmoid qlinearsigmoid gelu "
    "quickgelu tanh swish silu prelu elu leakyrelu softmax",
    "cat": "cat concat concatenation",
    "reorder": "reorder reorderinput reorderoutput",
    "quantize": "quantizelinear dequantizelinear fakequantize dynamicquantizelinear",
    "copy": "cast convert to transpose permute _to_copy pad",
}
_KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()}


@dataclass(frozen=True)
class LayerTime:
    """What one layer takes of a call.

    Attributes:
        name: the module; empty for what the net itself does.
        kind: ``conv``, ``linear``, ``pool``, ``add``, ``mul``, ``act``, ``cat``, ``copy``, ``reorder`` (the
            runtime moves a map from one layout to another), ``quantize``, ``other`` or ``UNATTRIBUTED``
            (what a call takes beyond its layers).
        ms: milliseconds a call.
        share: of all of them.
        watched_ms: as the profiler has it.
    """

    name: str
    kind: str
    ms: float
    share: float
    watched_ms: float


def profile(
    runtime: Runtime,
    artifact: Artifact,
    image: np.ndarray,
    runs: int = RUNS,
    *,
    whole_ms: float | None = None,
) -> tuple[LayerTime, ...]:
    """Time of every layer in the runtime's own profiler, in order of execution.

    Fused layers count as the convolution or linear layer among them. Each figure is the mean of the
    middle half of ``runs`` calls: profilers round to microseconds, so that a median would be coarse.

    Args:
        artifact: a whole net or a bare module, exported for ``runtime``.
        image: one input with its batch of 1.
        whole_ms: what a call takes without the profiler. Where the layers together take longer, as much is
            taken off every kernel as makes them equal; where they take less, the rest comes last, as
            ``UNATTRIBUTED``.

    Raises:
        InputError: the runtime is not installed, or has no profiler here.
        CompressError: the profiler gave nothing.
    """
    if line := runtime.missing():
        raise InputError(line)
    if (profiler := _profilers().get(runtime.kind)) is None:
        raise InputError(f"{runtime.kind} has no profiler here; those with one: {', '.join(_profilers())}")
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    with exclusive(runtime.threads):
        found = profiler(runtime, artifact, image, runs)
    # What ran in the first calls alone, as a change of the weights' layout, is no part of a call.
    each = {layer: (took, one.kernels) for layer, one in found.items() if (took := _middle(one.ms)) > 0}
    if not each:
        raise CompressError(f"the profiler of {runtime.kind} reported no layer")
    inner = "preprocess" in artifact.meta  # a whole net, which ``Deployed`` calls "module"
    keys = [(name.removeprefix("module").removeprefix(".") if inner else name, kind) for name, kind in each]
    watched = np.array([ms for ms, _ in each.values()])
    kernels = np.array([count for _, count in each.values()])
    ms = watched if whole_ms is None else without_profiler(watched, kernels, whole_ms)
    if whole_ms is not None:
        keys.append(("", UNATTRIBUTED))
        rest = max(whole_ms - float(ms.sum()), 0.0)
        ms, watched = np.append(ms, rest), np.append(watched, 0.0)
    return tuple(
        LayerTime(*key, float(one), float(one / ms.sum()), float(seen))
        for key, one, seen in zip(keys, ms, watched, strict=True)
    )


def without_profiler(ms: np.ndarray, kernels: np.ndarray, whole_ms: float) -> np.ndarray:
    """``ms`` less the same for each kernel, so that they sum to ``whole_ms`` at most.

    A layer keeps at least a twentieth of what was reported: of a kernel shorter than what the profiler adds
    no more is known than that it is short.
    """
    least = ms / 20

    def left(each: float) -> np.ndarray:
        return np.maximum(ms - each * kernels, least)

    if ms.sum() <= whole_ms:
        return ms
    low, high = 0.0, float(ms.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle).sum() > whole_ms else (low, middle)
    return left(high)


def has_profiler(runtime: Runtime) -> bool:
    """Whether ``profile`` works in that runtime."""
    return runtime.kind in _profilers() and not getattr(runtime, "compile", False)


def kind_of(operator: str) -> str:
    """The kind of a runtime's operator."""
    return _KIND.get(operator.lower(), "other")


def module_in(name: str) -> str:
    """The module of what is called ``module/Operator``, as by ``name_after_modules``, and then something."""
    return name.partition("/")[0] if "/" in name else ""


def by_run(records: Iterable[tuple[int, tuple[str, str], float]], runs: int) -> Layers:
    """(run, layer, milliseconds) of every kernel of ``WARM_UP + runs`` calls; a layer's kernels add up."""
    found: dict[tuple[str, str], np.ndarray] = {}
    kernels: Counter[tuple[str, str]] = Counter()
    for run, layer, ms in records:
        found.setdefault(layer, np.zeros(WARM_UP + runs))[run] += ms
        kernels[layer] += 1
    total = WARM_UP + runs
    return {layer: Watched(ms[WARM_UP:], round(kernels[layer] / total)) for layer, ms in found.items()}


def _middle(values: np.ndarray) -> float:
    ordered = np.sort(values)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def _profilers() -> dict[str, Callable[[Any, Artifact, np.ndarray, int], Layers]]:
    from compress.runtimes import profile_onnxruntime, profile_openvino, profile_torch

    return {
        "onnxruntime": profile_onnxruntime.profile,
        "openvino": profile_openvino.profile,
        "torch": profile_torch.profile,
    }
