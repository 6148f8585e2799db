"""run(recipe): the chain, one scored step per stage."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import __version__
from compress.errors import InputError, NoEffectError
from compress.gate import Evidence, decide
from compress.measure.counters import machine
from compress.scoring import Beside, Scored, Scorer
from compress.spec import digest
from compress.stages.base import Context, Plan, Stage
from compress.step import Score, Step
from compress.store import Store, source_digest

if TYPE_CHECKING:
    from torch import nn

    from compress.data.images import ImageSet, Splits
    from compress.net import Net
    from compress.recipe import Recipe
    from compress.runtimes.base import Runtime

Log = Callable[[str], None]
_LIBRARIES = ("torch", "torchvision", "torch-pruning", "tensorly", "numpy")
_CALIBRATION = 128  # images for calibration, statistics and parity


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
        model: a module of one's own in place of ``recipe.model``; it takes normalised N x 3 x H x W
            and gives N x C. A bare module counts as trained when ``recipe.train.epochs`` is 0.
        data: (train, val, test) of one's own in place of ``recipe.data``: image sets, pairs of
            arrays, or loaders of (images, targets).
        store: where results are kept; ``runs/.store`` when left out.
        log: gets one line at a time.
        progress: draw progress bars.

    Raises:
        InputError: the recipe or what it names is wrong.
        CompressError: a stage or a measurement failed; what ended before stays stored.
    """
    chain = Chain.start(recipe, model=model, data=data, store=store, log=log, progress=progress)
    at = chain.baseline()
    yield at.step
    for stage in recipe.stages:
        at = chain.stage(stage, at)
        yield at.step
    if recipe.control:
        yield chain.control(recipe.train.epochs + sum(map(_epochs, recipe.stages))).step


@dataclass(frozen=True)
class At:
    """Where the chain stands: the last step, and the net and score to go on from."""

    step: Step
    net: Net
    key: str
    scored: Scored


@dataclass
class Chain:
    """What all steps of one run share."""

    recipe: Recipe
    splits: Splits
    calib: ImageSet
    store: Store
    log: Log
    progress: bool
    base_key: str
    backbone: Net
    scorer: Scorer | None = None
    trained: Net | None = None

    @classmethod
    def start(
        cls,
        recipe: Recipe,
        *,
        model: nn.Module | Net | None = None,
        data: Any = None,
        store: Store | None = None,
        log: Log = print,
        progress: bool = False,
    ) -> Chain:
        """Load the data and build the untrained backbone."""
        import numpy as np
        import torch

        given = [name for name, value in (("model", model), ("data", data)) if value is not None]
        if problems := recipe.check(skip=given):
            raise InputError(problems)
        splits = _splits(recipe, data, log)
        torch.manual_seed(recipe.seed)
        backbone = _backbone(recipe, model, splits)
        picked = random.Random(recipe.seed).sample(
            range(len(splits.train)), min(_CALIBRATION, len(splits.train))
        )
        key = digest(
            splits.fingerprint,
            "given" if model is not None else recipe.model.canonical(),
            fingerprint(backbone),
            recipe.train.canonical(),
            recipe.seed,
            {"beyondnas": __version__, **{name: version(name) for name in _LIBRARIES}},
        )
        calib = splits.train.take(np.array(sorted(picked)))
        return cls(recipe, splits, calib, store or Store(), log, progress, key, backbone)

    # Steps --------------------------------------------------------------------------------------

    def baseline(self) -> At:
        """Train the backbone, choose the runtime on it, score it: by construction 1 with ``f1_time``."""
        began = time.monotonic()
        net, cached = self._trained(self.base_key, self.recipe.train)
        scorer = self.measure_in_runtime_of(net)
        scored, _ = scorer.score(net, self.base_key, None)
        scorer.baseline = scored
        step = Step(
            label="baseline",
            kind="baseline",
            key=self.base_key,
            kept=True,
            why=f"where the chain starts; runtime {scorer.runtime}",
            score=scored.score,
            seconds=time.monotonic() - began,
            cached=cached,
            epochs=self.recipe.train.epochs,
            artifact=str(scored.artifact.path),
        )
        return At(step, net, self.base_key, scored)

    def stage(self, stage: Stage, parent: At) -> At:
        """Plan, apply, score and gate one stage; a stage that is dropped leaves the chain at ``parent``."""
        began = time.monotonic()
        label = stage.label or stage.kind
        source = source_digest(type(stage).__module__)
        facts = [parent.key, stage.canonical(), self.recipe.seed, self.measuring.spec.canonical(), source]
        plan, planned = self._plan(stage, parent, digest("plan", *facts, machine()["id"]))
        for note in plan.notes:
            self.log(f"{label}: {note}")
        if plan.skip is not None:
            self.log(f"{label}: skipped, {plan.skip}")
            spent = 0.0 if planned else time.monotonic() - began
            step = Step(label, stage.kind, parent.key, False, f"skipped: {plan.skip}", None, spent, planned)
            return replace(parent, step=replace(step, notes=plan.notes))

        where = machine()["id"] if plan.measured else None
        key = digest("stage", *facts, plan.what, where)
        net, cached = self._apply(stage, plan, parent, key)
        scored, beside = self.measuring.score(net, key, parent.scored)
        kept, why = decide(stage.gate or self.recipe.gate, self._evidence(parent.scored, scored, beside))
        step = Step(
            label=label,
            kind=stage.kind,
            key=key,
            kept=kept,
            why=why,
            score=scored.score,
            seconds=time.monotonic() - began,
            cached=cached,
            epochs=_epochs(stage),
            notes=plan.notes,
            artifact=str(scored.artifact.path),
        )
        return At(step, net, key, scored) if kept else replace(parent, step=step)

    def control(self, epochs: int) -> At:
        """The backbone trained for all the epochs the recipe has: what training alone earns.

        Epochs of stages that were skipped count too: the comparison favours the baseline.
        """
        began = time.monotonic()
        spec = self.recipe.train.model_copy(update={"epochs": epochs})
        key = digest("control", self.base_key, spec.canonical())
        net, cached = self._trained(key, spec)
        scored, _ = self.measuring.score(net, key, self.measuring.baseline)
        step = Step(
            label="control",
            kind="control",
            key=key,
            kept=False,
            why=f"for comparison only: the baseline trained for the recipe's {epochs} epochs in all",
            score=scored.score,
            seconds=time.monotonic() - began,
            cached=cached,
            epochs=epochs,
            artifact=str(scored.artifact.path),
        )
        return At(step, net, key, scored)

    def measure_in_runtime_of(self, net: Net) -> Scorer:
        """Resolve the runtime on the baseline ``net``; from here on stages can measure."""
        self.trained = net
        root = getattr(self.recipe.data, "root", None)
        runtime = self._runtime(net)
        self.scorer = Scorer(runtime, self.recipe.metric, self.splits, self.calib, self.store, root)
        return self.scorer

    def context(self, work: Path) -> Context:
        """What a stage may see: never val, never test."""
        return Context(
            train=self.splits.train,
            tune=self.splits.tune,
            calib=self.calib,
            baseline=self.trained or self.backbone,
            train_spec=self.recipe.train,
            seed=self.recipe.seed,
            bench=self.measuring,
            work=work,
            remember=self._remember,
            log=self.log,
            progress=self.progress,
        )

    # Pieces -------------------------------------------------------------------------------------

    @property
    def measuring(self) -> Scorer:
        assert self.scorer is not None, "the baseline is scored first"
        return self.scorer

    def _trained(self, key: str, spec: Any) -> tuple[Net, bool]:
        from compress.train import fit

        with self.store.lock(key):
            stored = self.store.net(key)
            if stored is not None:
                return stored, True
            net = self.backbone.copy()
            if spec.epochs:
                self.log(f"training {spec.epochs} epochs on {len(self.splits.train)} images")
                fit(
                    net.module,
                    self.splits.train,
                    spec,
                    preprocess=net.preprocess,
                    tune=self.splits.tune,
                    seed=self.recipe.seed,
                    work=self.store.work(key),
                    progress=self.progress,
                    log=self.log,
                )
            self.store.put_net(key, net)
            return net, False

    def _runtime(self, net: Net) -> Runtime:
        """The recipe's runtime; ``auto`` is resolved once, on the trained baseline, and remembered."""
        from compress.runtimes.auto import AutoRuntime, by_kind

        spec = self.recipe.runtime
        if not isinstance(spec, AutoRuntime):
            return spec
        key = digest("auto", self.base_key, spec.canonical(), machine()["id"], machine()["versions"])
        stored = self.store.value("runtimes", key)
        if stored is None:
            runtime, candidates = spec.resolve(net, self.calib.images)
            for candidate in candidates:
                self.log(f"runtime {candidate}")
            stored = runtime.canonical()
            self.store.put_value("runtimes", key, stored)
        return by_kind(stored["kind"]).model_validate(stored)

    def _plan(self, stage: Stage, parent: At, key: str) -> tuple[Plan, bool]:
        stored = self.store.value("plans", key)
        if stored is not None:
            return Plan(**{**stored, "notes": tuple(stored["notes"])}), True
        with _seeded(self.recipe.seed):
            plan = stage.plan(parent.net, self.context(self.store.work(key)))
        self.store.put_value("plans", key, asdict(plan))
        return plan, False

    def _apply(self, stage: Stage, plan: Plan, parent: At, key: str) -> tuple[Net, bool]:
        with self.store.lock(key):
            stored = self.store.net(key)
            if stored is not None:
                return stored, True
            with _seeded(self.recipe.seed):
                net = stage.apply(parent.net.copy(), plan, self.context(self.store.work(key)))
            if fingerprint(net) == fingerprint(parent.net):
                raise NoEffectError(f"stage {stage.label or stage.kind} ran and changed nothing")
            self.store.put_net(key, net)
            return net, False

    def _remember(self, what: Any, make: Callable[[Path], Net]) -> Net:
        key = digest("remembered", what, self.splits.fingerprint, self.recipe.seed, version("torch"))
        with self.store.lock(key):
            net = self.store.net(key)
            if net is None:
                net = make(self.store.work(key))
                self.store.put_net(key, net)
            return net

    def _evidence(self, parent: Scored, candidate: Scored, beside: Beside) -> Evidence:
        """Points on val as one timing session of baseline, parent and candidate shows them."""
        assert self.measuring.baseline is not None
        base = self.measuring.baseline.score
        metric = self.recipe.metric.with_base(f1=base.f1_val, time=base.latency.median, macs=base.macs)

        def points(score: Score, ratio: float) -> float:
            return metric.points(f1=score.f1_val, time=base.latency.median * ratio, macs=score.macs)

        return Evidence(
            parent=min(parent.score.points_val, points(parent.score, beside.parent_ratio)),
            candidate=candidate.score.points_val,
            tied=points(candidate.score, beside.parent_ratio),
            low=beside.ratio.low,
            high=beside.ratio.high,
        )


def fingerprint(net: Net) -> str:
    """Content address of a net: structure, every weight and buffer, and what deployment adds."""
    hashed = hashlib.sha256(str(net.module).encode())
    for name, value in net.module.state_dict().items():
        hashed.update(name.encode())
        hashed.update(value.detach().cpu().contiguous().numpy().tobytes())
    quant = net.quant
    hashed.update(repr((net.preprocess, net.labels, quant and (quant.method, quant.exclude))).encode())
    return hashed.hexdigest()[:20]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators start from ``seed`` inside, and go on as before afterwards."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _splits(recipe: Recipe, data: Any, log: Log) -> Splits:
    if data is None:
        return recipe.data.load(recipe.seed, log)
    from compress.data.arrays import splits_from

    if not isinstance(data, tuple | list) or len(data) != 3:
        raise InputError(f"data: expected (train, val, test), found {type(data).__name__}")
    train, val, test = data
    return splits_from(train, val, test, recipe.seed)


def _backbone(recipe: Recipe, model: nn.Module | Net | None, splits: Splits) -> Net:
    from compress.net import Net, Preprocess

    size = splits.train.images.shape[1]
    if model is None:
        return recipe.model.build(splits.labels, size)
    if isinstance(model, Net):
        return model.copy()
    return Net(model, Preprocess(size), splits.labels).copy()


def _epochs(stage: Stage) -> int:
    return int(getattr(stage, "epochs", 0) or 0)
