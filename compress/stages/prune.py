"""Structured pruning: whole channels go, the net stays plain and dense."""

from __future__ import annotations

import copy
import difflib
import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compress.errors import CompressError, InputError, MissingExtraError, NoEffectError
from compress.stages.base import Context, Plan, Stage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.data.images import ImageSet
    from compress.net import Net
    from compress.ops.widths import Group

_RATINGS = {
    "torch_pruning": ("group_taylor", "l1", "l2", "lamp"),
    "nni": ("group_taylor", "l1", "l2", "fpgm"),
}


class Prune(Stage):
    """Removes the least important channels until ``target`` of the MACs are gone.

    Layers that must keep equal channels (residual additions, squeeze-and-excitation, depthwise
    convolutions) are narrowed together along torch-pruning's dependency graph (Fang et al. 2023,
    https://arxiv.org/abs/2301.12900). The plan fixes all widths, by the importance of the net as it
    comes; which channels go is decided anew in each of the ``steps``, on the net as fine-tuned by then.
    """

    kind: Literal["prune"] = "prune"
    strength: ClassVar[str] = "target"
    target: float = Field(0.5, gt=0, lt=1, description="Fraction of MACs to remove.")
    importance: Literal["group_taylor", "l1", "l2", "lamp", "fpgm"] = Field(
        "group_taylor", description="How channels are rated; lamp is torch_pruning's alone, fpgm nni's."
    )
    scope: Literal["global", "local"] | None = Field(
        None, description="Layers compete (global) or shrink alike (local); left out: global, with nni local."
    )
    round_to: int = Field(16, ge=4, description="Widths become multiples of it (of 8 below it).")
    max_layer: float = Field(
        0.8, gt=0, lt=1, description="Largest share of channels that one layer may lose."
    )
    ignore: tuple[str, ...] = Field(
        (), description="Names of layers, or of modules around them, to leave alone."
    )
    steps: int = Field(2, ge=1, description="Rounds of pruning, each followed by its share of the epochs.")
    epochs: int = Field(20, ge=0, description="Fine-tuning epochs, all steps together.")
    lr: float | None = Field(None, gt=0, description="Peak learning rate of the fine-tuning.")
    samples: int = Field(
        512, ge=1, description="Images of train whose gradients rate channels (group_taylor)."
    )
    engine: Literal["torch_pruning", "nni"] = Field(
        "torch_pruning", description="Who rates the channels; nni (extra nni) by the masks of NNI 3.0."
    )

    @model_validator(mode="after")
    def _fits_engine(self) -> Prune:
        if self.importance not in _RATINGS[self.engine]:
            known = ", ".join(_RATINGS[self.engine])
            raise ValueError(f"importance {self.importance} is not one of engine {self.engine}: {known}")
        if self.engine == "nni" and self.scope == "global":
            raise ValueError("engine nni rates channels within a layer: scope must be local, or left out")
        return self

    def check(self) -> list[str]:
        """A line when ``engine`` is nni and it is not installed; nothing is imported."""
        if self.engine == "nni" and importlib.util.find_spec("nni") is None:
            return list(MissingExtraError("nni", "nni").problems)
        return []

    @property
    def _limits(self) -> dict[str, Any]:
        return {"round_to": self.round_to, "max_layer": self.max_layer, "ignore": self.ignore}

    def refusal(self, net: Net) -> str | None:
        """That ``target`` is beyond the narrowest widths allowed."""
        from compress.ops.channels import find_groups

        groups, _ = find_groups(net.module, net.example(), **self._limits)
        narrowest = {group.name: group.allowed[0] for group in groups if group.allowed[0] < group.width}
        macs = _Slim(net, groups).macs
        try:
            if narrowest:
                self._check_reach(1 - macs(narrowest) / macs({}))
        except InputError as error:
            return str(error)
        return None

    def plan(self, net: Net, ctx: Context) -> Plan:
        """Fixes the widths of every step on copies of ``net``.

        Raises:
            InputError: ``ignore`` names no module, or ``target`` is beyond the narrowest widths allowed.
            MissingExtraError: ``engine`` is nni, which is not installed.
            CompressError: torch-pruning cannot follow the graph of this net.
        """
        from compress.ops.channels import find_groups
        from compress.ops.importance import scores
        from compress.ops.nni_masks import require
        from compress.ops.widths import nearest, notches, widths_after

        if self.engine == "nni":
            require()
        self._check_ignore(net.module)
        groups, fixed = find_groups(net.module, net.example(), **self._limits)
        if not groups:
            return Plan(skip="no layer can become narrower", notes=_left(fixed))
        rated = None
        if self.engine == "torch_pruning" and self.scope != "local":
            rated = scores(net.module, net.example(), groups, self.importance, self._rating(net, ctx))
        slim = _Slim(net, groups)
        order, macs = notches(groups, rated), slim.macs
        full = macs({})
        self._check_reach(1 - macs(widths_after(order)) / full)
        taken = nearest(order, macs, full * (1 - self.target), tolerance=full * 0.005)
        parts = [  # prefixes of all that is taken, so that widths only ever fall from step to step
            nearest(taken, macs, full * (1 - self.target * step / self.steps), rounds=1)
            for step in range(1, self.steps)
        ]
        distinct = dict.fromkeys(len(part) for part in (*parts, taken))
        widths = [widths_after(taken[:count]) for count in distinct]
        what = {
            "before": {group.name: group.width for group in groups if group.name in widths[-1]},
            "widths": widths,
            "macs": [full, *map(macs, widths)],
        }
        notes = [*self._notes(what, groups), *_predicted(net, slim.at(widths[-1]), ctx)]
        return Plan(what=what, notes=(*notes, *_left(fixed)))

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        """Prunes, re-estimates batch normalisation and fine-tunes, as often as the plan has steps."""
        from compress.ops.batchnorm import reestimate
        from compress.ops.channels import remove_channels
        from compress.ops.flops import count_macs
        from compress.stages.training import train_net
        from compress.training.batch import mixed_batches

        steps: list[dict[str, int]] = plan.what.get("widths", [])
        macs = before = count_macs(net.module, net.example())
        for i, widths in enumerate(steps):
            remove_channels(net.module, net.example(), self._choose(net, widths, ctx))
            _check_widths(net.module, widths)
            reestimate(net.module, mixed_batches(ctx.calib, net.preprocess))
            fewer = count_macs(net.module, net.example())
            ctx.log(f"prune: step {i + 1} of {len(steps)}: MACs {macs / 1e6:.2f} M -> {fewer / 1e6:.2f} M")
            macs = fewer
            epochs = self.epochs * (i + 1) // len(steps) - self.epochs * i // len(steps)
            if epochs:
                train_net(net, ctx, epochs=epochs, lr=self.lr, name=f"step{i}")
        if macs >= before:
            raise NoEffectError("prune: no channel was removed")
        return net

    def _choose(self, net: Net, widths: dict[str, int], ctx: Context) -> dict[str, list[int]]:
        """The least important channels of the net as it is now, by group, down to ``widths``."""
        from compress.ops.channels import list_groups
        from compress.ops.importance import scores
        from compress.ops.nni_masks import masked_channels
        from compress.ops.widths import lowest

        groups, _ = list_groups(net.module, net.example())
        groups = [group for group in groups if group.width > widths.get(group.name, group.width)]
        data = self._rating(net, ctx)
        if self.engine == "nni":
            return masked_channels(net.module, groups, widths, self.importance, data)
        rated = scores(net.module, net.example(), groups, self.importance, data)
        return {group.name: lowest(group, widths[group.name], rated[group.name]) for group in groups}

    def _rating(self, net: Net, ctx: Context) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
        """``samples`` images of train and their targets, the same for a seed."""
        import numpy as np

        drawn = np.random.default_rng(ctx.seed).permutation(len(ctx.train))[: self.samples]
        return lambda: _batches(net, ctx.train.take(drawn), 32)

    def _check_reach(self, reach: float) -> None:
        if reach < self.target - 0.01:
            raise InputError(
                f"prune: target {self.target} is out of reach: at the narrowest widths allowed "
                f"(round_to {self.round_to}, max_layer {self.max_layer}) {reach:.2f} of the MACs are gone"
            )

    def _check_ignore(self, module: nn.Module) -> None:
        known = [name for name, _ in module.named_modules() if name]
        lines = []
        for name in self.ignore:
            if name not in known:
                near = ", ".join(difflib.get_close_matches(name, known) or [*known[:3], "..."])
                lines.append(f"prune: ignore: the net has no module {name!r}; it has {near}")
        if lines:
            raise InputError(lines)

    def _notes(self, what: dict[str, Any], groups: list[Group]) -> list[str]:
        before, after = what["macs"][0], what["macs"][-1]
        gone = f"{1 - after / before:.3f} gone, target {self.target}"
        lines = [f"MACs {before / 1e6:.2f} M -> {after / 1e6:.2f} M: {gone}"]
        for group in groups:
            if group.name in what["before"]:
                tied = f" and {len(group.tied) - 1} tied" if len(group.tied) > 1 else ""
                lines.append(
                    f"{group.name}{tied}: {group.width} -> {what['widths'][-1][group.name]} channels"
                )
        return lines


class _Slim:
    """MACs of a net at given widths, counted on pruned copies and remembered."""

    def __init__(self, net: Net, groups: list[Group]) -> None:
        self._net = net
        self._groups = {group.name: group for group in groups}
        self._known: dict[tuple[tuple[str, int], ...], int] = {}

    def macs(self, widths: dict[str, int]) -> int:
        from compress.ops.flops import count_macs

        key = tuple(sorted(widths.items()))
        if key not in self._known:
            self._known[key] = count_macs(self.at(widths), self._net.example())
        return self._known[key]

    def at(self, widths: dict[str, int]) -> nn.Module:
        """A pruned copy; which channels are left is without meaning."""
        from compress.ops.channels import remove_channels
        from compress.ops.widths import lowest

        module = copy.deepcopy(self._net.module)
        removed = {name: lowest(self._groups[name], width) for name, width in widths.items()}
        remove_channels(module, self._net.example(), removed)
        return module


def _check_widths(module: nn.Module, widths: dict[str, int]) -> None:
    """Raises CompressError where a layer is wider than planned, as its group was not found again."""
    wide = []
    for name, width in widths.items():
        layer: Any = module.get_submodule(name)
        if (getattr(layer, "out_channels", None) or layer.out_features) > width:
            wide.append(name)
    if wide:
        raise CompressError(f"prune: no channel of {', '.join(wide)} can be removed any more, as was planned")


def _predicted(net: Net, pruned: nn.Module, ctx: Context) -> list[str]:
    """What the widths are worth on this machine, where a latency table knows."""
    from dataclasses import replace

    before, after = ctx.bench.predict_ms(net), ctx.bench.predict_ms(replace(net, module=pruned))
    if before is None or after is None:
        return []
    times = f"{before:.3f} ms -> {after:.3f} ms ({after / before:.2f}x)"
    return [f"time by the latency table of {ctx.bench.runtime}: {times}"]


def _left(fixed: dict[str, str]) -> tuple[str, ...]:
    """One line for each reason why layers keep their widths."""
    return tuple(
        f"left as they are ({why}): " + ", ".join(name for name in fixed if fixed[name] == why)
        for why in dict.fromkeys(fixed.values())
    )


def _batches(net: Net, data: ImageSet, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised images at the net's size, and targets, in order."""
    from compress.data.loader import Batches
    from compress.training.batch import inputs

    for images, targets in Batches(data, size):
        yield inputs(images, net.preprocess), targets
