"""What a recipe would do, without training anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from compress.chain import stage_epochs
from compress.errors import InputError
from compress.lab import Lab
from compress.layers.times import LayerLine, layer_lines
from compress.measure.counters import count
from compress.runtimes.profiling import has_profiler, profile

if TYPE_CHECKING:
    from compress.measure.guidelines import BlockGuide
    from compress.net import Net
    from compress.recipe import Recipe
    from compress.stages.base import Plan, Stage

Log = Callable[[str], None]
_SESSION_S = 8.0  # scoring a net besides exporting it: three timing sessions, loading, images


@dataclass(frozen=True)
class Layers:
    """The planned net layer by layer, as its runtime profiles it.

    Attributes:
        title: which net, in which runtime.
        lines: its layers.
        blocks: those that a guideline speaks against.
        whole_ms: its time without the profiler; ``warning`` says why to take it with care, if there is a why.
        bytes: size of the exported files.
    """

    title: str
    lines: list[LayerLine]
    blocks: list[BlockGuide]
    whole_ms: float
    warning: str | None
    bytes: int


@dataclass
class DryRun:
    """A recipe on its data, with the net that is planned for: the stored baseline, else the backbone."""

    lab: Lab
    net: Net
    trained: bool
    export_s: float = 0.0

    @classmethod
    def start(cls, recipe: Recipe, log: Log) -> DryRun:
        """Load the data, find the net, resolve the runtime; ``log`` gets a line at each wait."""
        log("reading the data")
        lab = Lab.start(recipe, log=log)
        stored = lab.store.net(lab.base_key)
        net = stored or lab.backbone
        log("choosing the runtime" if recipe.runtime.kind == "auto" else "preparing the runtime")
        lab.measure_in_runtime_of(net)
        return cls(lab, net, stored is not None)

    def layers(self, log: Log) -> Layers:
        """Profile the exported net; in ONNX Runtime where its own runtime has no profiler.

        Times the export, too, which ``lines`` reckons with.
        """
        from compress.latency_table.table import LatencyTable
        from compress.measure.guidelines import guidelines
        from compress.measure.latency import interleaved
        from compress.measure.sections import bound
        from compress.runtimes.deploy import export_net
        from compress.runtimes.onnxruntime_runtime import OnnxRuntime

        runtime, side = self.lab.measuring.spec, self.net.preprocess.size
        if not has_profiler(runtime):
            log(f"{runtime.kind} has no profiler: its layers as ONNX Runtime runs them")
            runtime = OnnxRuntime(threads=runtime.threads)
        image = np.zeros((1, side, side, 3), np.uint8)
        with TemporaryDirectory() as folder:
            log(f"exporting the net to {runtime.kind}")
            began = time.monotonic()
            artifact = export_net(self.net, runtime, Path(folder) / "net")
            self.export_s = time.monotonic() - began
            log("timing its layers")
            call = bound(runtime.load(artifact), image)
            whole = interleaved({"net": call}, reference="net", cores=runtime.threads)["net"]
            times = profile(runtime, artifact, image, whole_ms=whole.median_ms)
            size = artifact.bytes
        table = LatencyTable(runtime, self.lab.store)
        lines = layer_lines(self.net, times, table)
        found = guidelines(self.net.module, self.net.example())
        blocks = [block for block in found.blocks if block.against]
        state = "the stored baseline" if self.trained else "the untrained backbone"
        title = f"{state} in {runtime.kind}, one image"
        return Layers(title, lines, blocks, whole.median_ms, whole.warning, size)

    def lines(self, log: Log) -> Iterator[str]:
        """Data, model, what each stage would touch, and the time that all of it will take.

        Stages plan on the one net, each on its own: what an earlier stage would leave is not known before
        it ran. Planning measures where the stage does, and trains nothing but a few batches.
        """
        lab, net, recipe = self.lab, self.net, self.lab.recipe
        s = lab.splits
        parts = {"train": s.train, "tune": s.tune, "val": s.val, "test": s.test}
        counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        yield f"data: {counts}; {len(s.labels)} classes"
        counted = count(net.module, net.example())
        state = "trained, from the store" if self.trained else "untrained"
        yield (
            f"model: {counted.params:,} params, {counted.macs:,} MACs, {counted.layers} layers, "
            f"{counted.memory_bytes / 2**20:.1f} MiB of memory access, {counted.activations:,} activations, "
            f"{counted.peak_bytes / 2**20:.2f} MiB of them at most at once ({state})"
        )
        yield f"runtime: {lab.measuring.runtime}"
        log("timing an epoch of training")
        seconds = epoch_seconds(lab)
        training = 0.0 if self.trained else recipe.train.epochs * seconds
        measuring = self._score_s()
        yield f"baseline: {recipe.train.epochs} epochs, about {_minutes(training)} to train"
        if recipe.stages:
            yield "stages, each planned on this model: what the ones before would leave is not known yet"
        for index, stage in enumerate(recipe.stages):
            label = stage.label or stage.kind
            log(f"planning {label}")
            began = time.monotonic()
            plan = self._plan(stage)
            planning = time.monotonic() - began
            epochs = stage_epochs(stage)
            training += epochs * seconds
            measuring += planning + self._score_s()
            yield f"stages[{index}] {label}: {plan.skip or f'{epochs} epochs'}; planned in {planning:.0f} s"
            for note in plan.notes:
                yield f"  {note}"
        if recipe.control:
            training += (recipe.train.epochs + sum(map(stage_epochs, recipe.stages))) * seconds
            measuring += self._score_s()
        yield (
            f"in all: at most about {_minutes(training)} of training and {_minutes(measuring)} of planning "
            "and measuring here; teachers are left out"
        )

    def _plan(self, stage: Stage) -> Plan:
        """The plan of the strongest of the stage's tries that this net allows; the notes name the others."""
        *strong, weakest = stage.tries()
        refused: list[str] = []
        for one in strong:
            try:
                return self._planned(one, refused)
            except InputError as error:
                refused.append(f"not tried: {error}")
        return self._planned(weakest, refused)

    def _planned(self, stage: Stage, refused: list[str]) -> Plan:
        with TemporaryDirectory() as work:
            plan = stage.plan(self.net.copy(), self.lab.context(Path(work)))
        return replace(plan, notes=(*refused, *plan.notes))

    def _score_s(self) -> float:
        """About what exporting and scoring one net takes."""
        return self.export_s + _SESSION_S


def epoch_seconds(lab: Lab) -> float:
    """One epoch of the backbone, from a few batches of training on a copy."""
    from compress.train import fit

    train, spec = lab.splits.train, lab.recipe.train
    few = train.take(np.arange(min(len(train), 4 * spec.batch_size)))
    copy = lab.backbone.copy()
    short = spec.model_copy(update={"epochs": 2, "patience": None})  # patience needs a tune set
    result = fit(copy.module, few, short, preprocess=copy.preprocess, log=_silent)
    return float(result.history[-1]["seconds"]) * len(train) / len(few)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def _silent(line: str) -> None:
    """Takes the log of a trial training."""
