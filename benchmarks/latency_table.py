"""How well the latency table predicts the times of whole nets: median error and rank correlation.

Random nets from the block spaces of MobileNetV2 and V3 (depth, widths, kernels, expansion, squeeze and
excitation, 96 to 160 pixels), exported and timed in one interleaved session, beside what the table said.
Calibrates the table first where this machine has none.

python benchmarks/latency_table.py                # 50 nets; about ten minutes on two idle cores
python benchmarks/latency_table.py --nets 10
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from scipy.stats import spearmanr
from torch import nn

from compress.latency_table.table import PROBES, LatencyTable
from compress.measure.latency import Loads, interleaved
from compress.measure.sections import bound
from compress.models.blocks import Conv, InvertedResidualv2, InvertedResidualv3, Linear
from compress.models.layers import divisible
from compress.net import Net, Preprocess
from compress.ops.flops import count_macs
from compress.runtimes.base import Artifact, Runtime
from compress.runtimes.deploy import export_net
from compress.runtimes.kinds import BY_KIND
from compress.store import Store

STAGES = [(16, 1), (24, 2), (40, 2), (80, 2), (112, 1), (160, 2)]  # channels at width 1, stride
TARGETS = "targets: median error at most 10 %, rank correlation at least 0.95"


def random_net(seed: int) -> Net:
    """A net of six stages of one to three inverted residuals, as V2 or V3 have them."""
    rng = np.random.default_rng(10_000 + seed)
    v3 = bool(rng.random() < 0.5)
    size, unit = int(rng.choice([96, 112, 128, 144, 160])), int(rng.choice([8, 16]))
    width, act = float(rng.choice([0.35, 0.5, 0.75, 1.0])), "Hardswish" if v3 else "ReLU6"

    def channels(count: float) -> int:
        return max(unit, round(count * width / unit) * unit)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        now = channels(16 if v3 else 32)
        layers: list[nn.Module] = [Conv(3, now, 3, 2, 1, activation=act)]
        for count, stride in STAGES:
            out = channels(count * float(rng.choice([0.75, 1, 1.25])))
            for i in range(int(rng.integers(1, 4))):
                hidden, step = now * int(rng.choice([2, 3, 4, 6])), stride if i == 0 else 1
                if v3:
                    squeeze = divisible(hidden / 4) if rng.random() < 0.4 else 0
                    kernel = int(rng.choice([3, 5, 7]))
                    inner = act if rng.random() < 0.7 else "ReLU"
                    layers.append(InvertedResidualv3(now, hidden, out, kernel, step, squeeze, inner))
                else:
                    layers.append(InvertedResidualv2(now, hidden, out, step, True))
                now = out
        head = channels(960 if v3 else 1280)
        layers += [Conv(now, head, 1, activation=act), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        if v3:
            layers.append(Linear(head, channels(1024), act))
            head = channels(1024)
        layers.append(Linear(head, 6))
    return Net(nn.Sequential(*layers).eval(), Preprocess(size), tuple("abcdef"))


def main(
    nets: Annotated[int, typer.Option(min=3, help="Random nets to time.")] = 50,
    runtime: Annotated[str, typer.Option(help="onnxruntime, openvino, ncnn, torch")] = "onnxruntime",
    probes: Annotated[int, typer.Option(min=8, help="Nets to calibrate with.")] = PROBES,
    fresh: Annotated[bool, typer.Option(help="Calibrate anew, in a store of its own.")] = False,
    plot: Annotated[Path, typer.Option(help="Where to draw predicted beside measured.")] = Path(
        "latency_table.png"
    ),
) -> None:
    """Print both figures, each net's times, and draw them."""
    spec = BY_KIND[runtime](kind=runtime)
    with tempfile.TemporaryDirectory() as folder:
        table = LatencyTable(spec, Store(Path(folder) / "store") if fresh else None)
        if not table.calibrated:
            table.calibrate(probes)
        runs: dict[str, Loads] = {}
        predicted, macs = [], []
        for seed in range(nets):
            net = random_net(seed)
            predicted.append(table.predict(net).ms)
            macs.append(count_macs(net.module, net.example()) / 1e6)
            artifact = export_net(net, spec, Path(folder) / str(seed))
            runs[str(seed)] = Loads(partial(call, spec, artifact, net.preprocess.size), most=2)
            print(f"net {seed + 1} of {nets}: {macs[-1]:.1f} M MACs, predicted {predicted[-1]:.3f} ms")
        timed = interleaved(runs, reference="0", seconds=1.0 * nets)
    ms = timed.paired_ms()
    measured = [ms[name] for name in runs]
    wide = max(timed[name].ratio.high / timed[name].ratio.low - 1 for name in runs)
    errors = np.array(predicted) / measured - 1
    for seed in range(nets):
        print(
            f"net {seed}: {macs[seed]:.1f} M MACs, measured {measured[seed]:.3f} ms, predicted "
            f"{predicted[seed]:.3f} ms, {errors[seed]:+.1%}"
        )
    if warning := timed["0"].warning:
        print(f"warning: {warning}")
    rho, of_macs = (float(spearmanr(values, measured).statistic) for values in (predicted, macs))
    middle = float(np.median(np.array(predicted) / measured))
    relative = float(np.median(np.abs(np.array(predicted) / measured / middle - 1)))
    print(
        f"{nets} nets in {runtime}, {min(measured):.2f} to {max(measured):.2f} ms, "
        f"widest interval of a ratio {wide:.1%}"
    )
    print(
        f"median error {np.median(np.abs(errors)):.1%} (90 % of the nets within "
        f"{np.quantile(np.abs(errors), 0.9):.1%}); of the nets relative to each other {relative:.1%}"
    )
    print(f"rank correlation with the measured time {rho:.3f}; of MACs alone {of_macs:.3f}")
    print(TARGETS)
    draw(measured, predicted, plot, f"{nets} nets in {runtime}: median error {np.median(np.abs(errors)):.1%}")
    print(f"{plot}: predicted beside measured")


def call(spec: Runtime, artifact: Artifact, size: int) -> Callable[[], object]:
    return bound(spec.load(artifact), np.zeros((1, size, size, 3), np.uint8))


def draw(measured: list[float], predicted: list[float], path: Path, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    ends = [0.8 * min(*measured, *predicted), 1.25 * max(*measured, *predicted)]
    axes.plot(ends, ends, color="black", lw=1)
    axes.fill_between(ends, [0.9 * e for e in ends], [1.1 * e for e in ends], alpha=0.15, label="within 10 %")
    axes.scatter(measured, predicted, s=22)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured, ms", ylabel="predicted, ms")
    axes.set_title(title)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    typer.run(main)
