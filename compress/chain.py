"""run(recipe): the chain, one scored step per stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.gate import Evidence, decide
from compress.judging import Beside
from compress.lab import Lab
from compress.measure.draws import Draws
from compress.paired import Points
from compress.scoring import Scored
from compress.spec import digest
from compress.spent import seconds
from compress.stages.base import numbered
from compress.step import Score, Step

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from compress.lab import Given
    from compress.net import Net
    from compress.recipe import Recipe
    from compress.stages.base import Stage


def run(recipe: Recipe, **given: Unpack[Given]) -> Iterator[Step]:
    """Train (or take) the backbone, then each stage in turn; yields a step as each ends.

    Run again, it answers from the store what was computed before; killed, it goes on from the last
    epoch that was saved.

    Args:
        model: (nn.Module or Net) one's own in place of ``recipe.model``; a module gives N x C and takes
            N x 3 x H x W normalised by ImageNet's mean and std. For others give a ``Net(module,
            Preprocess(size, mean, std), labels)``. It counts as trained when ``recipe.train.epochs`` is 0.
        data: (train, val, test) of one's own in place of ``recipe.data``: image sets, pairs of
            arrays, or loaders of (images, targets).
        store: (Store) where results are kept; ``runs/.store`` when left out.
        log: gets one line at a time; ``print`` when left out.
        progress: (bool) draw progress bars.

    Raises:
        InputError: the recipe or what it names is wrong.
        CompressError: a stage or a measurement failed; what ended before stays stored.
    """
    lab = Lab.start(recipe, **given)
    if given.get("model") is not None:
        lab.check_model()
    at = baseline(lab)
    yield at.step
    labels = numbered(["baseline", *(stage.label or stage.kind for stage in recipe.stages)])[1:]
    for stage, label in zip(recipe.stages, labels, strict=True):
        at = advance(lab, stage.model_copy(update={"label": label}), at)
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


def baseline(lab: Lab) -> At:
    """Train the backbone, choose the runtime on it, score it: by construction 1 with ``f1_time``."""
    net, cached = lab.train(lab.base_key, lab.recipe.train)
    trained = time.monotonic()
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
        seconds=seconds(lab.store, lab.base_key, since=trained, cached=cached),
        cached=cached,
        epochs=lab.recipe.train.epochs,
        notes=(*lab.splits.notes, *_decoding(scored)),
        artifact=str(scored.artifact.path),
        test=lab.splits.test,
        given=lab.given,
    )
    return At(step, net, lab.base_key, scored)


def advance(lab: Lab, stage: Stage, parent: At) -> At:
    """One stage, tried at weaker and weaker strengths if it has ``retry``, until the gate keeps it.

    A stage that is dropped leaves the chain at ``parent``; its step is then the best of the tries. One that
    declines by itself is not tried again: what does not pay in full does not pay in part. A strength that
    the net cannot have (a target out of reach) is an error only when no weaker one is left.
    """
    tried: list[tuple[Stage, At]] = []
    tries = stage.tries()
    for one in tries:
        try:
            at = _try(lab, one, parent)
        except InputError as error:
            if one is tries[-1]:
                raise
            lab.log(f"{stage.label or stage.kind}: not tried: {error}")
            tried.append((one, replace(parent, step=_impossible(stage, parent, str(error)))))
            continue
        tried.append((one, at))
        if at.step.kept or at.step.score is None:
            break
    if stage.retry is None:
        return tried[0][1]
    scored = [at for _, at in tried if at.step.score is not None] or [tried[-1][1]]
    best = scored[-1] if scored[-1].step.kept else min(scored, key=_points_val)
    return replace(best, step=replace(best.step, **_all_tries(stage.strength or "", tried, best.step)))


def _impossible(stage: Stage, parent: At, why: str) -> Step:
    """The step of a try that this net does not allow."""
    return Step(
        stage.label or stage.kind, stage.kind, parent.key, False, f"not tried: {why}", None, 0.0, False
    )


def _points_val(at: At) -> float:
    return at.step.score.points_val if at.step.score else float("inf")


def _all_tries(strength: str, tried: list[tuple[Stage, At]], chosen: Step) -> dict[str, Any]:
    """What the step of a stage with ``retry`` says besides: every attempt, and the time of them all."""
    steps = [at.step for _, at in tried]
    values = [getattr(stage, strength) for stage, _ in tried]
    attempts = [
        {
            "value": value,
            "kept": step.kept,
            "why": step.why,
            "score_val": step.score and step.score.points_val,
        }
        for value, step in zip(values, steps, strict=True)
    ]
    lines = [f"{strength} {value:g}: {step.why}" for value, step in zip(values, steps, strict=True)]
    nth = next(i for i, step in enumerate(steps) if step is chosen)
    return {
        "why": f"at {strength} {values[nth]:g}, try {nth + 1} of {len(steps)}: {chosen.why}",
        "seconds": sum(step.seconds for step in steps),
        "cached": all(step.cached for step in steps),
        "notes": (*chosen.notes, *lines),
        "extra": {**chosen.extra, "attempts": attempts},
    }


def _try(lab: Lab, stage: Stage, parent: At) -> At:
    """Plan, apply, score and gate one stage."""
    label = stage.label or stage.kind
    plan_key = lab.plan_key(stage, parent.key)
    plan, planned = lab.plan(stage, parent.net, plan_key)
    for note in plan.notes:
        lab.log(f"{label}: {note}")
    if plan.skip is not None:
        took = seconds(lab.store, plan_key, since=time.monotonic(), cached=planned)
        why = f"skipped: {plan.skip}"
        step = Step(label, stage.kind, parent.key, False, why, None, took, planned, notes=plan.notes)
        return replace(parent, step=step)

    key = lab.stage_key(stage, parent.key, plan)
    net, cached = lab.apply(stage, plan, parent.net, key)
    applied = time.monotonic()
    scored, beside = lab.measuring.score(net, key, parent.scored)
    lab.log(f"{label}: timed by {beside.note}")
    if beside.warning:
        lab.log(f"{label}: {beside.warning}")
    gate = stage.gate or lab.recipe.gate
    kept, why = decide(gate, _evidence(lab, parent.scored.score, scored.score, beside))
    step = Step(
        label=label,
        kind=stage.kind,
        key=key,
        kept=kept,
        why=why,
        score=scored.score,
        seconds=seconds(lab.store, plan_key, key, since=applied, cached=cached),
        cached=cached,
        epochs=stage_epochs(stage),
        notes=(*plan.notes, *_decoding(scored)),
        artifact=str(scored.artifact.path),
    )
    return At(step, net, key, scored) if kept else replace(parent, step=step)


def _control(lab: Lab, epochs: int) -> Step:
    """The backbone trained for all the epochs the recipe has: what training alone earns.

    Epochs of stages that were skipped count too: the comparison favours the baseline.
    """
    spec = lab.recipe.train.model_copy(update={"epochs": epochs})
    key = digest("control", lab.base_key, spec.canonical())
    net, cached = lab.train(key, spec)
    trained = time.monotonic()
    scored, _ = lab.measuring.score(net, key, lab.measuring.baseline)
    return Step(
        label="control",
        kind="control",
        key=key,
        kept=False,
        why=f"for comparison only: the baseline trained for the recipe's {epochs} epochs in all",
        score=scored.score,
        seconds=seconds(lab.store, key, since=trained, cached=cached),
        cached=cached,
        epochs=epochs,
        artifact=str(scored.artifact.path),
    )


def _decoding(scored: Scored) -> tuple[str, ...]:
    """Whether files are decoded fast where this net is deployed, with figures, where that was asked."""
    return tuple(filter(None, [scored.score.decode_note]))


def _evidence(lab: Lab, parent: Score, candidate: Score, beside: Beside) -> Evidence:
    """Points on val as one timing session of base, parent and candidate shows them."""
    base, metric = candidate.base, lab.recipe.metric
    filled = metric.with_base(f1=base.f1_val, time=base.time_ms, macs=base.macs)

    def points(score: Score, ratio: float) -> float:
        return filled.points(f1=score.f1_val, time=base.time_ms * ratio, macs=score.macs)

    draws = Draws.of(lab.splits.val.targets, lab.splits.val.groups)
    resampled = Points(metric, candidate, draws, "val")
    before = resampled.of(parent, beside.parent_ratio)
    after = resampled.of(candidate, beside.parent_ratio * beside.ratio.drawn(draws.samples))
    return Evidence(
        parent=min(parent.points_val, points(parent, beside.parent_ratio)),
        candidate=candidate.points_val,
        tied=points(candidate, beside.parent_ratio),
        ratio=beside.ratio,
        differences=(after - before).tolist(),
    )
