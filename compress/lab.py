"""What all steps of one run share: data, backbone, runtime; and computing each thing once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from compress import __version__
from compress.data.pictures import Pictures
from compress.errors import CompressError, InputError, NoEffectError
from compress.inputs import (
    backbone_of,
    check_export,
    code_of,
    content_of,
    fingerprint,
    given_of,
    seeded,
    splits_of,
)
from compress.measure.machine import machine
from compress.ops.cpu import weight_top
from compress.outside import Outside
from compress.scoring import Scorer
from compress.spec import digest
from compress.spent import spending
from compress.stages.base import Context, Plan, Stage
from compress.store import Store, source_digest

if TYPE_CHECKING:
    from torch import nn

    from compress.data.fast import How
    from compress.data.images import ImageSet, Splits
    from compress.net import Net
    from compress.recipe import Recipe
    from compress.runtimes.base import Runtime

Log = Callable[[str], None]


class Given(TypedDict, total=False):
    """What ``run`` and ``ablate`` take besides a recipe; ``run`` says what each is."""

    model: nn.Module | Net | None
    data: Any
    store: Store | None
    log: Log
    progress: bool


_LIBRARIES = ("torch", "torchvision", "torch-pruning", "tensorly", "numpy", "opencv-python-headless")
_CALIBRATION = 128  # images for calibration, statistics and parity


@dataclass
class Lab:
    """One run's data, backbone and store; what it computes it computes once, whoever asks."""

    recipe: Recipe
    splits: Splits
    calib: ImageSet
    store: Store
    log: Log
    progress: bool
    base_key: str
    backbone: Net
    pictures: Pictures
    outside: Outside | None
    given: dict[str, str]
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
    ) -> Lab:
        """Load the data and build the untrained backbone."""
        import numpy as np

        given = [name for name, value in (("model", model), ("data", data)) if value is not None]
        if problems := recipe.check(skip=given):
            raise InputError(problems)
        # Now: a file edited during a long run must not answer for the code that is running.
        for stage in recipe.stages:
            source_digest(type(stage).__module__)
        splits = splits_of(recipe, data, log)
        outside = Outside.of(recipe.metric, splits.labels, recipe.runtime.threads)
        backbone = backbone_of(recipe, model, splits)
        picked = random.Random(recipe.seed).sample(
            range(len(splits.train)), min(_CALIBRATION, len(splits.train))
        )
        key = digest(
            splits.fingerprint,
            code_of(backbone.module) if model is not None else recipe.model.canonical(),
            fingerprint(backbone),
            recipe.train.canonical(),
            recipe.seed,
            versions(),
            *([weight_top()] if backbone.quant is not None else []),  # as this machine trains int8
        )
        calib = splits.train.take(np.array(sorted(picked)))
        files = recipe.data if data is None else None  # one's own images have none
        how: How = getattr(files, "how", "reference")
        pictures = Pictures(getattr(files, "root", None), how, log)
        store = store or Store()
        own = given_of(model, data, backbone, splits)
        return cls(recipe, splits, calib, store, log, progress, key, backbone, pictures, outside, own)

    def check_model(self) -> None:
        """Export the untrained backbone once, one's own: what cannot be exported must not be trained first.

        Raises:
            InputError: it cannot be exported.
        """
        if not self.store.has_net(self.base_key):
            check_export(self.backbone, self.recipe.runtime)

    def measure_in_runtime_of(self, net: Net) -> Scorer:
        """Resolve the runtime on the baseline ``net``; from here on stages can measure."""
        self.trained = net
        may = getattr(self.recipe.data, "decode", None) == "auto"
        given = (self.recipe.metric, self.splits, self.calib, self.store, self.pictures)
        self.scorer = Scorer(
            self._runtime(net), *given, may_decode_fast=may, outside=self.outside, log=self.log
        )
        return self.scorer

    def context(self, work: Path, size: int | None = None) -> Context:
        """What a stage may see: never val, never test; its images of side ``size``, or of the data's."""
        whole = Context(
            train=self.splits.train,
            tune=self.splits.tune,
            calib=self.calib,
            baseline=self.trained or self.backbone,
            train_spec=self.recipe.train,
            seed=self.recipe.seed,
            bench=self.measuring,
            work=work,
            remember=self.remember,
            log=self.log,
            progress=self.progress,
            resized=self.pictures.at,
        )
        return whole if size is None else whole.at(size)

    @property
    def measuring(self) -> Scorer:
        assert self.scorer is not None, "the baseline is scored first"
        return self.scorer

    def train(self, key: str, spec: Any) -> tuple[Net, bool]:
        """The backbone trained by ``spec``, and whether it was in the store."""
        with self.store.lock(key, log=self.log):
            stored = self.store.net(key)
            if stored is not None:
                return stored, True
            net, _ = self._fitted(key, spec) if spec.epochs else (self.backbone.copy(), 0)
            self.store.put_net(key, net)
            return net, False

    def train_until(self, key: str, spec: Any, epochs: int) -> Net:
        """The backbone after so many epochs of that training, which ``train`` goes on with.

        A training of that key that is further, or over, cannot go back: then it is run again up to there.
        """
        with self.store.lock(key, log=self.log):
            if not self.store.has_net(key):
                net, done = self._fitted(key, spec, epochs)
                if done <= epochs:
                    return net
            aside = f"{key}-{epochs}"
            net, _ = self._fitted(aside, spec, epochs)
            self.store.drop_work(aside)
            return net

    def _fitted(self, key: str, spec: Any, until: int | None = None) -> tuple[Net, int]:
        """A trained copy of the backbone, and its epochs; checkpoints are the work of ``key``."""
        from compress.train import fit

        net = self.backbone.copy()
        with spending(self.store, key):
            done = fit(
                net.module,
                self.splits.train,
                spec,
                preprocess=net.preprocess,
                tune=self.splits.tune,
                seed=self.recipe.seed,
                work=self.store.work(key),
                until=until,
                progress=self.progress,
                log=self.log,
            )
        return net, done.epochs_run

    def _runtime(self, net: Net) -> Runtime:
        """The recipe's runtime; ``auto`` is resolved once, on the trained baseline, and remembered."""
        from compress.runtimes.auto import AutoRuntime, by_kind

        spec = self.recipe.runtime
        if not isinstance(spec, AutoRuntime):
            return self._able(spec, net)
        key = digest("auto", self.base_key, spec.canonical(), machine()["id"], machine()["versions"])
        with self.store.lock(key, log=self.log):
            stored = self.store.value("runtimes", key)
            if stored is None:
                runtime, candidates = spec.resolve(net, self.calib.images)
                for candidate in candidates:
                    self.log(f"runtime {candidate}")
                stored = runtime.canonical()
                if self.store.has_net(self.base_key):  # a dry run may ask for an untrained net: not for good
                    self.store.put_value("runtimes", key, stored)
        return self._able(by_kind(stored["kind"]).model_validate(stored), net)

    @staticmethod
    def _able(runtime: Runtime, net: Net) -> Runtime:
        if net.quant is not None and not type(runtime).int8:
            raise InputError(f"runtime.kind: the model is int8, which {runtime.kind} cannot run")
        return runtime

    def plan_key(self, stage: Stage, parent: str) -> str:
        """Key of the stage's plan for the net with the key ``parent``; predicted times may decide in it."""
        measuring = self.measuring
        facts = [*self._facts(stage, parent), measuring.spec.canonical(), *measuring.facts()]
        return digest("plan", *facts, measuring.predicting)

    def stage_key(self, stage: Stage, parent: str, plan: Plan) -> str:
        """Key of the net that the stage makes by ``plan`` of the one with the key ``parent``.

        Of runtimes it knows only where one decided: what is trained for one runtime serves in all.
        """
        where = [machine()["id"], self.measuring.spec.canonical()] if plan.measured else None
        return digest("stage", *self._facts(stage, parent), plan.what, where)

    def _facts(self, stage: Stage, parent: str) -> list[Any]:
        """What a stage's outcome follows from; its label, gate and retries change nothing in it."""
        content = {k: v for k, v in stage.canonical().items() if k not in ("label", "gate", "retry")}
        facts = [parent, content, content_of(stage), self.recipe.seed]
        return [*facts, source_digest(type(stage).__module__), versions()]

    def plan(self, stage: Stage, net: Net, key: str) -> tuple[Plan, bool]:
        """The stage's plan for ``net``, and whether it was in the store."""
        with self.store.lock(key, log=self.log):
            text, planned = self.store.value("plans", key), True
            if text is None:
                with spending(self.store, key), seeded(self.recipe.seed):
                    ctx = self.context(self.store.work(key), net.preprocess.size)
                    plan = stage.plan(net.copy(), ctx)
                try:
                    text, planned = json.dumps(asdict(plan)), False
                except TypeError as error:
                    raise CompressError(f"stage {stage.kind}: its plan is not JSON: {error}") from error
                self.store.put_value("plans", key, text)
                self.store.drop_work(key)
        content = json.loads(text)  # fresh or stored, a plan is what JSON says
        return Plan(**{**content, "notes": tuple(content["notes"])}), planned

    def apply(self, stage: Stage, plan: Plan, parent: Net, key: str) -> tuple[Net, bool]:
        """The net after the stage, and whether it was in the store.

        Raises:
            NoEffectError: the stage changed nothing.
        """
        with self.store.lock(key, log=self.log):
            stored = self.store.net(key)
            if stored is not None:
                return stored, True
            with spending(self.store, key), seeded(self.recipe.seed):
                ctx = self.context(self.store.work(key), parent.preprocess.size)
                net = stage.apply(parent.copy(), plan, ctx)
            if fingerprint(net) == fingerprint(parent):
                raise NoEffectError(f"stage {stage.label or stage.kind} ran and changed nothing")
            self.store.put_net(key, net)
            return net, False

    def remember(self, what: Any, make: Callable[[Path], Net]) -> Net:
        """The net of ``make``, given a folder for unfinished work, from when ``what`` was first asked for."""
        key = digest("remembered", what, self.splits.fingerprint, self.recipe.seed, versions())
        with self.store.lock(key, log=self.log):
            net = self.store.net(key)
            if net is None:
                net = make(self.store.work(key))
                self.store.put_net(key, net)
            return net


def versions() -> dict[str, str]:
    return {"beyondnas": __version__, **{name: version(name) for name in _LIBRARIES}}
