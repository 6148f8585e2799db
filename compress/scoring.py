"""One resolved runtime and one baseline: everything a run measures goes through here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import CompressError
from compress.measure.counters import count, machine
from compress.measure.endtoend import encoded, end_to_end_ms
from compress.measure.latency import Timing, interleaved
from compress.measure.quality import Quality, evaluate, quality, score_interval
from compress.measure.score import Metric
from compress.ratio import Ratio
from compress.runtimes.base import MANIFEST, Artifact, Runtime
from compress.runtimes.deploy import export_net, parity
from compress.spec import digest
from compress.step import Latency, Score
from compress.store import source_digest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.data.images import ImageSet, Splits
    from compress.net import Net
    from compress.store import Store


@dataclass(frozen=True)
class Scored:
    """A net that was exported and measured: what later steps compare with."""

    key: str
    artifact: Artifact
    score: Score
    size: int


@dataclass(frozen=True)
class Beside:
    """A candidate beside its parent, timed in turns with the baseline in one session.

    Attributes:
        ratio: time candidate / parent.
        parent_ratio: time parent / baseline, as it was in that session.
        busy: other processes disturbed too many of the calls.
    """

    ratio: Ratio
    parent_ratio: float
    busy: bool


@dataclass
class Scorer:
    """Exports, times and judges nets; the ``Bench`` of every stage.

    Attributes:
        runtime: the run's one resolved runtime.
        calib: images on which an export must agree with its float module.
        root: where the data's files lie, for the end-to-end time.
        baseline: set once the baseline is scored; every ratio is relative to it.
    """

    spec: Runtime
    metric: Metric
    splits: Splits
    calib: ImageSet
    store: Store
    root: Path | None = None
    baseline: Scored | None = field(default=None)

    @property
    def runtime(self) -> str:
        return self.spec.kind

    @property
    def int8(self) -> bool:
        return type(self.spec).int8

    # What stages ask (the Bench protocol) -------------------------------------------------------

    def ratio(self, candidate: Net, reference: Net) -> Ratio:
        """Time of one net over another's, both exported, batch 1."""
        with self._exported(candidate) as new, self._exported(reference) as old:
            return self._pair(new, candidate.preprocess.size, old, reference.preprocess.size)

    def ratio_modules(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> Ratio:
        """Time of one bare module over another's; both take ``example``, batch 1."""
        value = example.numpy()
        with tempfile.TemporaryDirectory() as folder:
            runs = {}
            for name, module in {"new": candidate, "old": reference}.items():
                run = self.spec.load(self.spec.export(module.eval(), example, Path(folder) / name))
                runs[name] = lambda run=run: run(value)
            return interleaved(runs, reference="old", cores=self.spec.threads)["new"].ratio

    def f1(self, net: Net, data: ImageSet) -> float:
        """Macro F1 of the exported net."""
        with self._exported(net) as artifact:
            return self._quality(artifact, net.preprocess.size, data).f1

    # What the chain asks ------------------------------------------------------------------------

    def score(self, net: Net, key: str, parent: Scored | None) -> tuple[Scored, Beside]:
        """Export (once), reload, measure; and how it stands beside ``parent`` in the same timing.

        Measurements are stored by artifact, runtime, machine, versions and the code that measures, so
        that the same run gives the same numbers again.
        """
        key = digest(key, self.spec.canonical(), self._export_code())
        artifact = self._artifact(net, key)
        others = [self.baseline.key if self.baseline else None, parent.key if parent else None]
        asked = digest(key, others, self.splits.fingerprint, *self.facts())
        with self.store.lock(f"measured-{asked}"):
            raw = self.store.value("measured", asked)
            if raw is None:
                raw = self._measure(net, artifact, parent)
                self.store.put_value("measured", asked, raw)
        beside = Beside(Ratio(*raw["ratio_to_parent"]), raw["parent_ratio"], raw["busy"])
        return Scored(key, artifact, self._judge(raw), net.preprocess.size), beside

    def facts(self) -> list[Any]:
        """What a measurement depends on besides the net: the machine, the libraries, our code."""
        return [machine()["id"], machine()["versions"], source_digest(__name__), self._export_code()]

    def _export_code(self) -> str:
        return source_digest(type(self.spec).__module__)

    def _artifact(self, net: Net, key: str) -> Artifact:
        path = self.store.artifact(key)
        with self.store.lock(f"artifact-{key}"):
            return Artifact(path) if (path / MANIFEST).is_file() else export_net(net, self.spec, path)

    def _measure(self, net: Net, artifact: Artifact, parent: Scored | None) -> dict[str, Any]:
        size = net.preprocess.size
        agreed = parity(net, self.spec, artifact, self._sized(self.calib, size).images)
        predicted = {
            name: self._quality(artifact, size, data).predictions.tolist()
            for name, data in (("val", self.splits.val), ("test", self.splits.test))
        }
        run = self.spec.load(artifact, batch=1)
        photos = encoded(self.splits.test, self.root)
        timing, parents = self._time(artifact, size, parent)
        to_parent = timing.ratio_against
        counts = count(net.module, net.example())
        return {
            "ratio_to_parent": [to_parent.median, to_parent.low, to_parent.high],
            "parent_ratio": parents.ratio.median,
            "busy": timing.busy,
            "predicted": predicted,
            "latency": {
                "median": timing.median_ms,
                "p10": timing.p10_ms,
                "p90": timing.p90_ms,
                "n": timing.n,
                "ratio": timing.ratio.median,
                "ratio_interval": [timing.ratio.low, timing.ratio.high],
            },
            "end_to_end_ms": end_to_end_ms(run, size, photos, cores=self.spec.threads),
            "params": counts.params,
            "macs": counts.macs,
            "layers": counts.layers,
            "bytes": artifact.bytes,
            "agreement": agreed.agreement,
            "max_logit_difference": agreed.max_difference,
        }

    def _judge(self, raw: dict[str, Any]) -> Score:
        """Raw measurements to a Score, relative to the baseline's (itself, when it is the baseline)."""
        splits = {"val": self.splits.val, "test": self.splits.test}
        got = {
            name: quality(data.targets, np.asarray(raw["predicted"][name]), data.labels)
            for name, data in splits.items()
        }
        lat = dict(raw["latency"], ratio_interval=tuple(raw["latency"]["ratio_interval"]))
        latency = Latency(**lat)
        base = self.baseline.score if self.baseline else None
        base_ms = base.latency.median if base else latency.median
        base_macs = base.macs if base else raw["macs"]
        points = {
            name: self.metric.with_base(f1=base_f1, time=base_ms, macs=base_macs).points(
                f1=got[name].f1, time=base_ms * latency.ratio, macs=raw["macs"]
            )
            for name, base_f1 in (
                ("val", base.f1_val if base else got["val"].f1),
                ("test", base.f1_test if base else got["test"].f1),
            )
        }
        return Score(
            f1_val=got["val"].f1,
            f1_test=got["test"].f1,
            f1_val_interval=got["val"].interval,
            f1_test_interval=got["test"].interval,
            f1_per_class=got["test"].f1_per_class,
            accuracy_test=got["test"].accuracy,
            latency=latency,
            end_to_end_ms=raw["end_to_end_ms"],
            params=raw["params"],
            macs=raw["macs"],
            layers=raw["layers"],
            bytes=raw["bytes"],
            points_val=points["val"],
            points_test=points["test"],
            points_test_interval=self._interval(got["test"], latency, base_ms, raw["macs"], base_macs),
            agreement=raw["agreement"],
            max_logit_difference=raw["max_logit_difference"],
            predictions_test=tuple(raw["predicted"]["test"]),
        )

    def _interval(
        self, test: Quality, latency: Latency, base_ms: float, macs: int, base_macs: int
    ) -> tuple[float, float]:
        mine = test.predictions
        base = np.asarray(self.baseline.score.predictions_test) if self.baseline else mine
        ratio = Ratio(latency.ratio, *latency.ratio_interval)
        return score_interval(
            self.metric,
            self.splits.test.targets,
            mine,
            base,
            ratio,
            base_time=base_ms,
            macs=macs,
            base_macs=base_macs,
        )

    # Measuring ----------------------------------------------------------------------------------

    def _time(self, artifact: Artifact, size: int, parent: Scored | None) -> tuple[Timing, Timing]:
        """The artifact's time and its parent's, in turns with the baseline's; alone, it is its own parent."""
        runs = {"new": self._runner(artifact, size)}
        base = old = "new"
        if self.baseline is not None:
            base = old = "base"
            runs["base"] = self._runner(self.baseline.artifact, self.baseline.size)
            if parent is not None and parent.key != self.baseline.key:
                old = "old"
                runs["old"] = self._runner(parent.artifact, parent.size)
        timed = interleaved(runs, reference=base, against=old, cores=self.spec.threads)
        return timed["new"], timed[old]

    def _pair(self, new: Artifact, new_size: int, old: Artifact, old_size: int) -> Ratio:
        runs = {"new": self._runner(new, new_size), "old": self._runner(old, old_size)}
        return interleaved(runs, reference="old", cores=self.spec.threads)["new"].ratio

    def _runner(self, artifact: Artifact, size: int) -> Any:
        run = self.spec.load(artifact, batch=1)
        image = self._sized(self.splits.val.take(np.array([0])), size).images
        return lambda: run(image)

    def _quality(self, artifact: Artifact, size: int, data: ImageSet) -> Quality:
        return evaluate(self.spec.load(artifact, batch=None), self._sized(data, size))

    def _sized(self, data: ImageSet, size: int) -> ImageSet:
        """The images at the size an artifact takes; decoded ones are of the data's own size."""
        if data.images.shape[1] == size:
            return data
        raise CompressError(
            f"a net for images of side {size}, but the data's are of side {data.images.shape[1]}: "
            "stages may not change the size yet"
        )

    @contextmanager
    def _exported(self, net: Net) -> Iterator[Artifact]:
        with tempfile.TemporaryDirectory() as folder:
            yield export_net(net, self.spec, Path(folder) / "net")
