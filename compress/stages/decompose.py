"""Layers written as products of smaller ones, each kept only if it is measured faster."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from compress.errors import NoEffectError
from compress.stages.base import Context, Plan, Ratio, Stage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.net import Net
    from compress.ops.surgery import LayerCall

_SMALL = 0.005  # of the net's MACs: below, a layer cannot pay for its timing

_LOOKED_AT = "read by the net, not only called"


@dataclass(frozen=True)
class _Candidate:
    """A layer worth timing: its name, ranks, input shape and MACs saved."""

    name: str
    ranks: tuple[int, ...]
    shape: tuple[int, ...]
    saved: float


class Decompose(Stage):
    """Tucker-2 for dense k x k convs (Kim et al., ICLR 2016), SVD for 1x1 convs and linears.

    Ranks keep ``energy`` of each layer's singular values. A layer is factorised only if its factors,
    timed beside it on its true input in the run's runtime, are for sure ``min_speedup`` times as fast; all
    of them together must make the whole net faster. Layers whose factors this machine's latency table
    (``python -m compress calibrate``) expects to gain too little are not timed. Then batch norm statistics
    are taken anew and the net is fine-tuned.
    """

    kind: Literal["decompose"] = "decompose"
    strength: ClassVar[str] = "energy"  # weaker is more of it
    method: Literal["auto", "tucker", "svd"] = Field(
        "auto", description="tucker: k x k only; svd: 1x1, linear."
    )
    energy: float = Field(0.9, gt=0, lt=1, description="Share of the squared singular values to keep.")
    round_to: int = Field(8, ge=1, description="Ranks are rounded up to a multiple of this.")
    min_speedup: float = Field(1.1, ge=1, description="How many times faster a layer must be to stay.")
    max_layers: int = Field(12, ge=1, description="Distinct layers timed at most, largest saving first.")
    epochs: int = Field(10, ge=0, description="Fine-tuning after it.")
    lr: float | None = Field(
        None, gt=0, description="Peak of the fine-tuning; from the recipe's if left out."
    )

    def plan(self, net: Net, ctx: Context) -> Plan:
        left: Counter[str] = Counter()
        groups = self._groups(net, left)
        if not groups:
            return Plan(skip=f"nothing to factorise: {_listed(left)}")
        groups, hopeless = self._worth_timing(groups, net.module, ctx)
        for group in groups[self.max_layers :]:
            left[f"not timed (max_layers is {self.max_layers})"] += len(group)

        if hopeless:
            known = f"not {self._asked} by the latency table of {ctx.bench.runtime}"
            left[known] = sum(len(group) for group, _ in hopeless)
            if not groups:
                least = min(times for _, times in hopeless)
                return Plan(skip=f"{_listed(left)}; the best takes {least:.2f}x the time", measured=True)
        timed = [(group, self._time(group[0], net.module, ctx)) for group in groups[: self.max_layers]]
        what: dict[str, list[int]] = {}
        for group, ratio in timed:
            if ratio.high < 1 / self.min_speedup:
                what |= {c.name: list(c.ranks) for c in group}
            else:
                left[f"not for sure {self._asked} in {ctx.bench.runtime}"] += len(group)
        notes = [
            f"{', '.join(c.name for c in group)}: rank {_ranks(group[0].ranks)}, {_times(ratio)} the time"
            for group, ratio in timed
        ]
        notes += [f"left as they are: {_listed(left)}"] if left else []
        if not what:
            tried = sum(len(group) for group, _ in timed)
            best = min((ratio for _, ratio in timed), key=lambda ratio: ratio.median)
            reason = (
                f"{tried} layers tried, none for sure {self._asked} in {ctx.bench.runtime}: the best took "
                f"{_times(best)} the time"
            )
            return Plan(notes=tuple(notes), skip=reason, measured=True)

        candidate = net.copy()
        _factorise_all(candidate.module, what)
        whole = ctx.bench.ratio(candidate, net)
        notes.append(f"whole net: {_times(whole)} the time")
        if not whole.faster:
            reason = (
                f"{len(what)} layers are faster alone, but the net with them takes {_times(whole)} the time "
                f"in {ctx.bench.runtime}"
            )
            return Plan(notes=tuple(notes), skip=reason, measured=True)
        return Plan(what=what, notes=tuple(notes), measured=True)

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        from compress.ops.batchnorm import reestimate
        from compress.stages.training import train_net
        from compress.training.batch import mixed_batches

        if not plan.what:
            raise NoEffectError("decompose: the plan names no layer to factorise")
        _factorise_all(net.module, plan.what)
        reestimate(net.module, mixed_batches(ctx.calib, net.preprocess))
        if self.epochs:
            train_net(net, ctx, epochs=self.epochs, lr=self.lr, name="decompose")
        return net

    @property
    def _asked(self) -> str:
        """What ``min_speedup`` asks of a layer."""
        most = 1 / self.min_speedup
        return f"{self.min_speedup:g} times as fast (under {most:.2f}x the time)" if most < 1 else "faster"

    def _groups(self, net: Net, left: Counter[str]) -> list[list[_Candidate]]:
        """Layers to time, equal ones together, largest saving first; ``left`` counts why the others not."""
        from compress.ops.surgery import layer_calls, looked_at

        calls = layer_calls(net.module, net.example())
        total = sum(call.macs for call in calls)
        layers = {call.name: net.module.get_submodule(call.name) for call in calls}
        plain = [name for name, layer in layers.items() if self._ineligible(layer) is None]
        looked = looked_at(net.module, net.example(), plain)
        groups: defaultdict[Hashable, list[_Candidate]] = defaultdict(list)
        for call in calls:
            layer = layers[call.name]
            reason = _LOOKED_AT if call.name in looked else self._ineligible(layer)
            if reason is None and call.macs < _SMALL * total:
                reason = f"under {_SMALL:.1%} of the MACs"
            if reason is None:
                ranks, share = self._ranks(layer, call)
                if share < 1:
                    candidate = _Candidate(call.name, ranks, call.shape, (1 - share) * call.macs)
                    groups[str(layer), call.shape, ranks].append(candidate)
                    continue
                reason = f"no fewer MACs at energy {self.energy:g}"
            left[reason] += 1
        return sorted(groups.values(), key=lambda group: -sum(c.saved for c in group))

    def _ineligible(self, layer: nn.Module) -> str | None:
        from torch import nn

        if type(layer) not in (nn.Conv2d, nn.Linear):
            return "of a class of their own"
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            return "grouped or depthwise"
        dense = isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
        if self.method == "tucker" and not dense:
            return "1x1 or linear, and method is tucker"
        if self.method == "svd" and dense:
            return "k x k, and method is svd"
        return None

    def _ranks(self, layer: nn.Module, call: LayerCall) -> tuple[tuple[int, ...], float]:
        """Ranks and the share of the layer's MACs that the factors need."""
        from torch import nn

        from compress.ops import ranks

        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            pair = ranks.tucker_ranks(layer.weight, self.energy, self.round_to)
            return pair, ranks.tucker_macs(layer, pair, (call.shape[-2], call.shape[-1]))
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        rank = ranks.matrix_rank(layer.weight, self.energy, self.round_to)
        return (rank,), ranks.svd_macs(layer, rank)

    def _worth_timing(
        self, groups: list[list[_Candidate]], module: nn.Module, ctx: Context
    ) -> tuple[list[list[_Candidate]], list[tuple[list[_Candidate], float]]]:
        """Those that may be faster for all the latency table knows; the others with its expectation."""
        worth, hopeless = [], []
        for group in groups:
            times = ctx.bench.predict_ratio(*_alternatives(group[0], module))
            if times is not None and times > 1 / self.min_speedup:
                hopeless.append((group, times))
            else:
                worth.append(group)
        return worth, hopeless

    def _time(self, candidate: _Candidate, module: nn.Module, ctx: Context) -> Ratio:
        return ctx.bench.ratio_modules(*_alternatives(candidate, module))


def _alternatives(candidate: _Candidate, module: nn.Module) -> tuple[nn.Module, nn.Module, Tensor]:
    """The layer's factors, the layer, and an input of both."""
    import copy

    import torch

    layer = copy.deepcopy(module.get_submodule(candidate.name)).eval()
    return factorise(layer, candidate.ranks), layer, torch.zeros(1, *candidate.shape[1:])


def factorise(layer: nn.Module, ranks: list[int] | tuple[int, ...]) -> nn.Module:
    """``layer`` at ``ranks``: two for Tucker-2 of a k x k conv (input, output), one for an SVD."""
    from torch import nn

    from compress.ops.lowrank import svd_conv1x1, svd_linear, tucker2

    if isinstance(layer, nn.Linear):
        return svd_linear(layer, *ranks)
    assert isinstance(layer, nn.Conv2d)
    if len(ranks) == 2:
        return tucker2(layer, (ranks[0], ranks[1]))
    return svd_conv1x1(layer, *ranks)


def _factorise_all(module: nn.Module, what: dict[str, list[int]]) -> None:
    from compress.ops.surgery import replace

    for name, ranks in what.items():
        replace(module, name, factorise(module.get_submodule(name), ranks))


def _times(ratio: Ratio) -> str:
    return f"{ratio.median:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


def _ranks(ranks: tuple[int, ...]) -> str:
    return " x ".join(str(r) for r in ranks)


def _listed(left: Counter[str]) -> str:
    return "; ".join(f"{reason}: {count}" for reason, count in left.most_common()) or "no conv or linear"
