"""run(recipe): the chain, one scored step per stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compress.gate import Evidence, decide
from compress.inputs import content_of
from compress.lab import Lab, versions
from compress.measure.counters import machine
from compress.scoring import Beside, Scored
from compress.spec import digest
from compress.step import Score, Step
from compress.store import Store, source_digest

if TYPE_CHECKING:
    from torch import nn

    from compress.net import Net
    from compress.recipe import Recipe
    from compress.stages.base import Stage

Log = Callable[[str], None]


def run(
    recipe: Recipe,
    *,
    model: nn.Module | Net | None = None,
    data: Any = None,
    store: Store | None = None,
    log: Log = print,
    progress: bool = False,
) -> Iterator[Step]:
    """Train (or take) the backbone, then each stage in turn; yields a step as each ends.

    Run again, it answers from the store what was computed before; killed, it goes on from the last
    epoch that was saved.

    Args:
        model: a module of one's own in place of ``recipe.model``; it gives N x C and takes N x 3 x H x W
            normalised by ImageNet's mean and std. For others give a ``Net(module, Preprocess(size, mean,
            std), labels)``. It counts as trained when ``recipe.train.epochs`` is 0.
        data: (train, val, test) of one's own in place of ``recipe.data``: image sets, pairs of
            arrays, or loaders of (images, targets).
        store: where results are kept; ``runs/.store`` when left out.
        log: gets one line at a time.
        progress: draw progress bars.

    Raises:
        InputError: the recipe or what it names is wrong.
        CompressError: a stage or a measurement failed; what ended before stays stored.
    """
    lab = Lab.start(recipe, model=model, data=data, store=store, log=log, progress=progress)
    at = _baseline(lab)
    yield at.step
    for stage in recipe.stages:
        at = _stage(lab, stage, at)
        yield at.step
    if recipe.control:
        yield _control(lab, recipe.train.epochs + sum(map(stage_epochs, recipe.stages)))


@dataclass(frozen=True)
class At:
    """Where the chain stands: the last step, and the net and score to go on from."""

    step: Step
    net: Net
    key: str
    scored: Scored


def stage_epochs(stage: Stage) -> int:
    """Passes over train that a stage makes at most; 0 for one that does not train."""
    return int(getattr(stage, "epochs", 0) or 0)


def _baseline(lab: Lab) -> At:
    """Train the backbone, choose the runtime on it, score it: by construction 1 with ``f1_time``."""
    began = time.monotonic()
    net, cached = lab.train(lab.base_key, lab.recipe.train)
    scorer = lab.measure_in_runtime_of(net)
    scored, _ = scorer.score(net, lab.base_key, None)
    scorer.baseline = scored
    step = Step(
        label="baseline",
        kind="baseline",
        key=lab.base_key,
        kept=True,
        why=f"where the chain starts; runtime {scorer.runtime}",
        score=scored.score,
        seconds=lab.seconds(lab.base_key, time.monotonic() - began, cached),
        cached=cached,
        epochs=lab.recipe.train.epochs,
        notes=lab.splits.notes,
        artifact=str(scored.artifact.path),
    )
    return At(step, net, lab.base_key, scored)


def _stage(lab: Lab, stage: Stage, parent: At) -> At:
    """Plan, apply, score and gate one stage; a stage that is dropped leaves the chain at ``parent``."""
    began = time.monotonic()
    label = stage.label or stage.kind
    content = {k: v for k, v in stage.canonical().items() if k not in ("label", "gate")}
    facts = [parent.key, content, content_of(stage), lab.recipe.seed, lab.measuring.spec.canonical()]
    facts += [source_digest(type(stage).__module__), versions()]
    plan_key = digest("plan", *facts, *lab.measuring.facts())
    plan, planned = lab.plan(stage, parent.net, plan_key)
    for note in plan.notes:
        lab.log(f"{label}: {note}")
    if plan.skip is not None:
        seconds = lab.seconds(plan_key, time.monotonic() - began, planned)
        why = f"skipped: {plan.skip}"
        step = Step(label, stage.kind, parent.key, False, why, None, seconds, planned, notes=plan.notes)
        return replace(parent, step=step)

    key = digest("stage", *facts, plan.what, machine()["id"] if plan.measured else None)
    net, cached = lab.apply(stage, plan, parent.net, key)
    scored, beside = lab.measuring.score(net, key, parent.scored)
    if beside.busy:
        lab.log(f"{label}: other processes disturbed the timing; its interval is wide for that")
    kept, why = decide(stage.gate or lab.recipe.gate, _evidence(lab, parent.scored, scored, beside))
    step = Step(
        label=label,
        kind=stage.kind,
        key=key,
        kept=kept,
        why=why,
        score=scored.score,
        seconds=lab.seconds(key, time.monotonic() - began, cached),
        cached=cached,
        epochs=stage_epochs(stage),
        notes=plan.notes,
        artifact=str(scored.artifact.path),
    )
    return At(step, net, key, scored) if kept else replace(parent, step=step)


def _control(lab: Lab, epochs: int) -> Step:
    """The backbone trained for all the epochs the recipe has: what training alone earns.

    Epochs of stages that were skipped count too: the comparison favours the baseline.
    """
    began = time.monotonic()
    spec = lab.recipe.train.model_copy(update={"epochs": epochs})
    key = digest("control", lab.base_key, spec.canonical())
    net, cached = lab.train(key, spec)
    scored, _ = lab.measuring.score(net, key, lab.measuring.baseline)
    return Step(
        label="control",
        kind="control",
        key=key,
        kept=False,
        why=f"for comparison only: the baseline trained for the recipe's {epochs} epochs in all",
        score=scored.score,
        seconds=lab.seconds(key, time.monotonic() - began, cached),
        cached=cached,
        epochs=epochs,
        artifact=str(scored.artifact.path),
    )


def _evidence(lab: Lab, parent: Scored, candidate: Scored, beside: Beside) -> Evidence:
    """Points on val as one timing session of baseline, parent and candidate shows them."""
    assert lab.measuring.baseline is not None
    base = lab.measuring.baseline.score
    metric = lab.recipe.metric.with_base(f1=base.f1_val, time=base.latency.median, macs=base.macs)

    def points(score: Score, ratio: float) -> float:
        return metric.points(f1=score.f1_val, time=base.latency.median * ratio, macs=score.macs)

    return Evidence(
        parent=min(parent.score.points_val, points(parent.score, beside.parent_ratio)),
        candidate=candidate.score.points_val,
        tied=points(candidate.score, beside.parent_ratio),
        ratio=beside.ratio,
    )
