"""What an ablation will cost, before it starts: from what the store remembers and a trial epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING

from compress.ablation.variants import Variant
from compress.chain import stage_epochs
from compress.spec import digest
from compress.stages.base import Plan, Stage

if TYPE_CHECKING:
    from compress.lab import Lab

_MEASURING = 10.0  # seconds to plan, export, time and score one net, until one was measured


@dataclass
class Forecast:
    """Stage runs and time; a baseline's training counts as one.

    Attributes:
        asked: were each variant run alone; ``most``: different ones, at most; ``stored``: computed before.
        seconds: about, for those not stored; teachers that are trained first are not in it.
        measured, tried: how many of them are estimated by the same stage's time elsewhere, how many by a
            trial epoch.
    """

    variants: int = 0
    asked: int = 0
    most: int = 0
    stored: int = 0
    seconds: float = 0.0
    measured: int = 0
    tried: int = 0

    def __str__(self) -> str:
        new = self.most - self.stored
        text = (
            f"{self.variants} variants, {self.asked} stage runs if each ran alone; shared beginnings leave "
            f"at most {self.most}, of which {self.stored} are in the store"
        )
        if new:
            text += f"; about {self.seconds / 60:.1f} min for the other {new}"
            text += f" ({self.measured} by measured times, {self.tried} by a trial epoch)"
        return text


@dataclass
class _Costs:
    """Seconds by stage, and what was counted of each kind of unknown."""

    seen: dict[str, list[float]] = field(default_factory=dict)
    unknown: list[tuple[str, int]] = field(default_factory=list)  # stage and its epochs


def forecast(branches: Iterable[tuple[Lab, list[Variant]]]) -> Forecast:
    """Walk the tree without running it; a gate that may drop stages is taken to keep them."""
    from compress.dryrun import epoch_seconds

    found, costs = Forecast(), _Costs()
    epoch: float | None = None
    for lab, variants in branches:
        _walk(lab, variants, found, costs)
        if epoch is None and any(name not in costs.seen for name, _ in costs.unknown):
            epoch = epoch_seconds(lab)
    for name, epochs in costs.unknown:
        if name in costs.seen:
            found.measured += 1
            found.seconds += mean(costs.seen[name])
        else:
            found.tried += 1
            found.seconds += epochs * (epoch or 0.0) + _MEASURING
    return found


def _walk(lab: Lab, variants: list[Variant], found: Forecast, costs: _Costs) -> None:
    """Count one branch: its baseline, then every edge once."""
    net = lab.store.net(lab.base_key)
    if net is not None:
        lab.measure_in_runtime_of(net)
    _count("baseline", lab.recipe.train.epochs, _seconds(lab, lab.base_key), found, costs)
    edges: dict[tuple[str, str], str] = {}
    for variant in variants:
        found.variants += 1
        found.asked += 1 + len(variant.chain)
        at = lab.base_key
        for stage in variant.recipe.stages:
            name = digest(stage.canonical())
            if (at, name) not in edges:
                stored = None if net is None else _stored(lab, stage, at)
                edges[at, name] = digest(at, name) if stored is None else stored[0]
                _count(name, stage_epochs(stage), stored and stored[1], found, costs)
            at = edges[at, name]


def _count(name: str, epochs: int, seconds: float | None, found: Forecast, costs: _Costs) -> None:
    found.most += 1
    if seconds is None:
        costs.unknown.append((name, epochs))
    else:
        found.stored += 1
        costs.seen.setdefault(name, []).append(seconds)


def _stored(lab: Lab, stage: Stage, parent: str) -> tuple[str, float] | None:
    """Key and seconds of what the stage makes of ``parent``, if that is in the store."""
    text = lab.store.value("plans", lab.plan_key(stage, parent))
    if text is None:
        return None
    content = json.loads(text)
    if content["skip"] is not None:
        return parent, lab.store.value("seconds", lab.plan_key(stage, parent)) or 0.0
    key = lab.stage_key(stage, parent, Plan(what=content["what"], measured=content["measured"]))
    seconds = _seconds(lab, key)
    return None if seconds is None else (key, seconds)


def _seconds(lab: Lab, key: str) -> float | None:
    return lab.store.value("seconds", key) if lab.store.has_net(key) else None
