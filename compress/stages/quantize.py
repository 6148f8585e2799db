"""int8 at export, where it is faster and keeps the F1; what follows it trains as int8 (QAT)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compress.errors import InputError, NoEffectError
from compress.net import Net, Quant
from compress.stages.base import Context, Plan, Ratio, Stage

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Method = Literal["minmax", "entropy", "percentile"]
_METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy")


@dataclass(frozen=True)
class Part:
    """Which layers are int8: words for a person, and the names of those left in float."""

    words: str
    exclude: tuple[str, ...]


class Quantize(Stage):
    """Static int8: per-channel weights, activation ranges from calibration images (QDQ at export).

    ``auto`` takes the whole net if that is faster than fp32 and keeps the F1 on tune; else it tries the
    other range methods, then parts of the net (squeeze-and-excitation and heads in float; pointwise
    convs only; sums, pools and products are int8 only between int8 layers), and takes the fastest that
    keeps it. ONNX Runtime runs a layer that is float in the file as int8 all the same where it lies between
    int8 layers: F1 and time are of what it runs. ``static`` tries the whole net with ``method`` alone. What
    does not pay is skipped, with the figures.
    """

    kind: Literal["quantize"] = "quantize"
    mode: Literal["auto", "static"] = Field("auto", description="auto also tries parts and other methods.")
    method: Method = Field("minmax", description="How activation ranges are taken; auto starts with it.")
    samples: int = Field(128, ge=1, description="Calibration images, of train; all of it at most.")
    max_drop: float = Field(0.02, ge=0, le=1, description="Macro F1 on tune that int8 may lose.")
    exclude: tuple[str, ...] = Field(
        (),
        description="Modules always left in float, by dotted name; ONNX Runtime runs one between int8 layers "
        "as int8 all the same.",
    )
    fallback: bool = Field(True, description="false: quantize even if it does not pay; the gate decides.")

    def plan(self, net: Net, ctx: Context) -> Plan:
        if not ctx.bench.int8:
            return Plan(skip=f"{ctx.bench.runtime} runs no int8")
        if net.quant is not None:
            return Plan(skip="the net is int8 already")
        whole, *parts = self.parts(net)
        trial = _Trial(net, self._images(ctx), ctx)
        methods: tuple[Method, ...] = (self.method,)
        if self.mode == "auto":
            methods += tuple(m for m in _METHODS if m != self.method)

        # What a person wants most first: the whole net. Parts are timed only if that does not do.
        for group in ([whole], parts if self.mode == "auto" else []):
            for part in sorted(group, key=lambda part: trial.ratio(part).median):
                if not trial.ratio(part).faster:
                    continue
                for method in methods:
                    if trial.drop(part, method) <= self.max_drop:
                        return self._chosen(part, method, trial)
        if not self.fallback:
            best = min(methods, key=lambda method: trial.drop(whole, method))
            return self._chosen(whole, best, trial, "does not pay by itself; fallback is false")
        return Plan(notes=trial.notes(), skip=self._why_not(whole, trial), measured=True)

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        from compress.ops.fold import folded

        if not plan.what:
            raise NoEffectError("quantize: the plan names no way to quantize")
        net.module = folded(net.module, net.example())
        net.quant = Quant(self._images(ctx), plan.what["method"], tuple(plan.what["exclude"]))
        return net

    def _images(self, ctx: Context) -> np.ndarray:
        """``samples`` images drawn by the seed, for they may lie sorted by class: of the calibration
        images, and when these are too few also of train, none twice; all there are at most."""
        import numpy as np

        rng = np.random.default_rng(ctx.seed)
        order = rng.permutation(len(ctx.calib))[: self.samples]
        images: np.ndarray = ctx.calib.images[np.sort(order)]
        if (lacking := self.samples - len(images)) <= 0:
            return images
        used = {image.tobytes() for image in images}
        fresh = (i for i in rng.permutation(len(ctx.train)) if ctx.train.images[i].tobytes() not in used)
        more = sorted(itertools.islice(fresh, lacking))
        return np.concatenate([images, ctx.train.images[np.array(more, dtype=np.int64)]])

    def parts(self, net: Net) -> list[Part]:
        """The whole net, then the parts worth a try, without repetitions.

        Squeeze-and-excitation and heads work on 1 x 1 maps, where quantising costs more than it saves;
        depthwise convs gain least from int8, pointwise ones most. A part names layers; what has no weights
        goes by its neighbours at export, so a block that is left out is float with its pool and product.

        Raises:
            InputError: ``exclude`` names no module of the net, or leaves nothing.
        """
        from compress.ops.surgery import is_under, layer_calls

        names = {name for name, _ in net.module.named_modules()}
        unknown = [name for name in self.exclude if name not in names]
        if unknown:
            raise InputError(
                [f"quantize: exclude names {name!r}, which is no module of the net" for name in unknown]
            )
        calls = [
            call for call in layer_calls(net.module, net.example()) if not is_under(call.name, self.exclude)
        ]
        if not calls:
            raise InputError("quantize: exclude leaves no conv or linear to quantize")

        def without(words: str, left: list[str]) -> Part:
            return Part(words, tuple(dict.fromkeys((*self.exclude, *left))))

        on_maps = {c.name for c in calls if len(c.shape) == 4 and c.shape[-2:] != (1, 1)}
        pointwise = {n for n in on_maps if _is_pointwise(net.module.get_submodule(n))}
        parts = [Part("the whole net", self.exclude)]
        for words, kept in (("all but heads and squeezes", on_maps), ("pointwise convs alone", pointwise)):
            part = without(words, [c.name for c in calls if c.name not in kept])
            if kept and part.exclude not in [p.exclude for p in parts]:
                parts.append(part)
        return parts

    def _chosen(self, part: Part, method: Method, trial: _Trial, but: str = "") -> Plan:
        head = f"int8 for {part.words}, {method} ranges" + (f": {but}" if but else "")
        what = {"method": method, "exclude": list(part.exclude)}
        cut = () if trial.images >= self.samples else (f"calibrated on {trial.images} images: all of train",)
        return Plan(what=what, notes=(head, *cut, *trial.notes()), measured=True)

    def _why_not(self, whole: Part, trial: _Trial) -> str:
        runtime = trial.ctx.bench.runtime
        ratios = {part.words: ratio for part, ratio in trial.ratios.items() if not ratio.faster}
        slow = ""
        if ratios:
            best = min(ratios.values(), key=lambda ratio: ratio.median)
            slow = f"int8 is {_times(best)} the time of fp32 in {runtime}"
            if list(ratios) != [whole.words]:
                slow += f" at best ({', '.join(ratios)})"
        lost = "; ".join(
            f"int8 for {part.words} loses {min(drops.values()):.3f} of {trial.base:.3f} F1 on tune at best "
            f"({', '.join(drops)}), more than max_drop {self.max_drop:g}"
            for part, drops in trial.drops.items()
        )
        return "; ".join(filter(None, (slow, lost)))


class _Trial:
    """Int8 candidates of one net, each measured once and only when asked."""

    def __init__(self, net: Net, images: np.ndarray, ctx: Context) -> None:
        from compress.ops.fold import folded

        self.net, self.ctx, self.images = net, ctx, len(images)
        self.int8 = Net(folded(net.module, net.example()), net.preprocess, net.labels, Quant(images))
        self.ratios: dict[Part, Ratio] = {}
        self.drops: dict[Part, dict[str, float]] = {}
        self._base: float | None = None

    @property
    def base(self) -> float:
        """F1 of fp32 on tune."""
        if self._base is None:
            self._base = self.ctx.bench.f1(self.net, self.ctx.tune)
        return self._base

    def candidate(self, part: Part, method: str) -> Net:
        assert self.int8.quant is not None
        return replace(self.int8, quant=replace(self.int8.quant, method=method, exclude=part.exclude))

    def ratio(self, part: Part) -> Ratio:
        """Time against fp32 (how ranges are taken does not change it)."""
        if part not in self.ratios:
            self.ratios[part] = self.ctx.bench.ratio(self.candidate(part, "minmax"), self.net)
        return self.ratios[part]

    def drop(self, part: Part, method: str) -> float:
        """F1 lost on tune; below 0 if int8 is better."""
        drops = self.drops.setdefault(part, {})
        if method not in drops:
            drops[method] = self.base - self.ctx.bench.f1(self.candidate(part, method), self.ctx.tune)
        return drops[method]

    def notes(self) -> tuple[str, ...]:
        lines = [f"{part.words}: {_times(ratio)} the time of fp32" for part, ratio in self.ratios.items()]
        for part, drops in self.drops.items():
            changes = ", ".join(f"{-drop:+.3f} with {method}" for method, drop in drops.items())
            lines.append(f"{part.words}: F1 on tune {self.base:.3f} {changes}")
        return tuple(lines)


def _is_pointwise(layer: nn.Module) -> bool:
    return getattr(layer, "kernel_size", None) == (1, 1) and getattr(layer, "groups", None) == 1


def _times(ratio: Ratio) -> str:
    return f"{ratio.median:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"
