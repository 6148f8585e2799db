"""What a recipe would do, without training anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from compress.chain import stage_epochs
from compress.lab import Lab
from compress.measure.counters import count

if TYPE_CHECKING:
    from compress.recipe import Recipe


def dry_run(recipe: Recipe) -> Iterator[str]:
    """Lines: data, model, what each stage would touch, and the time that training will take.

    Stages plan on the stored baseline if there is one, else on the untrained backbone, each on its own:
    what an earlier stage would leave is not known before it ran.
    """
    lab = Lab.start(recipe, log=_silent)
    s = lab.splits
    parts = {"train": s.train, "tune": s.tune, "val": s.val, "test": s.test}
    counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
    yield f"data: {counts}; {len(s.labels)} classes"
    stored = lab.store.net(lab.base_key)
    net = stored or lab.backbone
    counted = count(net.module, net.example())
    state = "trained, from the store" if stored else "untrained"
    yield f"model: {counted.params:,} params, {counted.macs:,} MACs, {counted.layers} layers ({state})"
    yield f"runtime: {lab.measure_in_runtime_of(net).runtime}"
    seconds = epoch_seconds(lab)
    total = 0.0 if stored else recipe.train.epochs * seconds
    yield f"baseline: {recipe.train.epochs} epochs, about {total / 60:.1f} min to train"
    for index, stage in enumerate(recipe.stages):
        with TemporaryDirectory() as work:
            plan = stage.plan(net, lab.context(Path(work)))
        epochs = stage_epochs(stage)
        total += epochs * seconds
        yield f"stages[{index}] {stage.label or stage.kind}: {plan.skip or f'{epochs} epochs'}"
        for note in plan.notes:
            yield f"  {note}"
    yield f"training in all: at most about {total / 60:.0f} min here, teachers and the control left out"


def epoch_seconds(lab: Lab) -> float:
    """One epoch of the backbone, from a few batches of training on a copy."""
    from compress.train import fit

    train, spec = lab.splits.train, lab.recipe.train
    few = train.take(np.arange(min(len(train), 4 * spec.batch_size)))
    copy = lab.backbone.copy()
    short = spec.model_copy(update={"epochs": 2, "patience": None})  # patience needs a tune set
    result = fit(copy.module, few, short, preprocess=copy.preprocess, log=_silent)
    return float(result.history[-1]["seconds"]) * len(train) / len(few)


def _silent(line: str) -> None:
    """Takes the log of a trial training."""
