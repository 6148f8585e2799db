"""The layers of a net as a figure: what takes the time, and what the guidelines thought would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compress.errors import InputError
from compress.layers.times import LayerLine, correlations

_COLOURS = {
    "dense": "#1b6ca8",
    "pointwise": "#4aa3df",
    "depthwise": "#e08e0b",
    "grouped": "#b5651d",
    "linear": "#5b4b8a",
    "element-wise": "#c0392b",
    "only the runtime's": "#8a8f98",
}
_ENDINGS = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Raises InputError when a figure cannot be written there."""
    if path.suffix.lower() not in _ENDINGS:
        raise InputError(f"--plot {path}: the file must end in {', '.join(_ENDINGS)}")
    if not path.parent.is_dir():
        raise InputError(f"--plot {path}: there is no folder {path.parent}")


def layer_plot(lines: Sequence[LayerLine], path: Path, title: str) -> None:
    """Bars of measured time by layer with the guidelines' prediction of it, and one beside the other.

    Predictions are scaled so that all together equal the measured time.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_plot(path)
    lines = [line for line in lines if line.ms]  # not what runs as a part of others
    total, costs = sum(line.ms for line in lines) * 1e3, sum(line.cost or 0.0 for line in lines)
    height = max(4.5, 0.185 * len(lines) + 1.6)
    figure = Figure(figsize=(13, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13)
    bars, points = figure.subplots(1, 2, width_ratios=(3, 2))
    kinds = [_kind(line) for line in lines]
    rows = range(len(lines))
    bars.barh(rows, [line.ms * 1e3 for line in lines], color=[_COLOURS[kind] for kind in kinds], height=0.8)
    guessed = [(row, (line.cost or 0.0) / costs * total) for row, line in enumerate(lines) if line.cost]
    bars.plot(
        [us for _, us in guessed], [row for row, _ in guessed], "|", color="black", ms=9, mew=1.6,
        label="predicted by the guidelines",
    )  # fmt: skip
    bars.set_yticks(rows, [f"{line.name}  {line.shape or line.kind}" for line in lines], fontsize=7.5)
    bars.set_ylim(len(lines) - 0.4, -0.6)
    bars.set_xlabel("us a call")
    bars.legend(loc="lower right", fontsize=9)
    bars.grid(axis="x", alpha=0.3)
    for kind in dict.fromkeys(kinds):
        own = [line for line, k in zip(lines, kinds, strict=True) if k == kind and line.ms and line.cost]
        if own:
            x = [(line.cost or 0.0) / costs * total for line in own]
            points.scatter(x, [line.ms * 1e3 for line in own], s=26, color=_COLOURS[kind], label=kind)
    low, high = _limits(lines, costs, total)
    points.plot([low, high], [low, high], color="black", lw=0.8, alpha=0.5)
    points.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    points.set_xlabel("us predicted by the guidelines")
    points.set_ylabel("us measured")
    points.set_box_aspect(1)
    points.set_anchor("N")
    points.grid(alpha=0.3, which="both")
    points.legend(fontsize=9)
    ranks = ", ".join(f"{name} {rho:.2f}" for name, rho in correlations(lines).items())
    points.set_title(f"rank correlation with the measured time:\n{ranks}", fontsize=10)
    figure.savefig(path, dpi=130)


def _kind(line: LayerLine) -> str:
    if line.cost is None:
        return "only the runtime's"
    return line.kind if line.kind in _COLOURS else "element-wise"


def _limits(lines: Sequence[LayerLine], costs: float, total: float) -> tuple[float, float]:
    values = [line.ms * 1e3 for line in lines if line.ms and line.cost]
    values += [line.cost / costs * total for line in lines if line.ms and line.cost]
    return (0.6 * min(values), 1.6 * max(values)) if values else (0.1, 1.0)
