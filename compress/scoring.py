"""One resolved runtime and one baseline: everything a run measures goes through here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.fast import How, is_fast, is_padded, way
from compress.judging import Beside, Session, judge
from compress.latency_table.table import LatencyTable
from compress.measure.counters import count
from compress.measure.endtoend import KINDS, Agreement, Kind, decoding, encoded, one_call
from compress.measure.latency import Loads, interleaved
from compress.measure.machine import machine
from compress.measure.quality import Quality, evaluate
from compress.measure.score import Metric
from compress.measure.sections import bound
from compress.ops.cpu import weight_top
from compress.outside import Outside
from compress.ratio import Ratio
from compress.runtimes.base import MANIFEST, Artifact, Runtime
from compress.runtimes.deploy import export_net, parity, stamp
from compress.spec import digest
from compress.step import Score
from compress.store import source_digest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from compress.data.images import ImageSet, Splits
    from compress.data.pictures import Pictures
    from compress.net import Net
    from compress.store import Store

_BRIEF_S = 0.4  # a run, for a time that the metric does not count


@dataclass(frozen=True)
class Shipped:
    """An exported model as it runs where it is deployed."""

    key: str
    runtime: Runtime
    artifact: Artifact
    size: int
    how: How


@dataclass(frozen=True)
class Scored:
    """A net that was exported and measured: what later steps compare with."""

    shipped: Shipped
    score: Score

    @property
    def key(self) -> str:
        return self.shipped.key

    @property
    def artifact(self) -> Artifact:
        return self.shipped.artifact


@dataclass
class Scorer:
    """Exports, times and judges nets; the ``Bench`` of every stage.

    Attributes:
        spec: the run's one resolved runtime.
        calib: images on which an export must agree with its float module.
        pictures: where the splits' images come from, for other sizes and the end-to-end time.
        may_decode_fast: whether to look if fast decoding of files gives the labels of the reference.
        outside: the model of ``metric.baseline``.
        log: gets what is to be known of a timing that a stage asked for.
        baseline: set once the baseline is scored; every ratio is relative to it.
    """

    spec: Runtime
    metric: Metric
    splits: Splits
    calib: ImageSet
    store: Store
    pictures: Pictures
    may_decode_fast: bool = False
    outside: Outside | None = None
    log: Callable[[str], None] = print
    baseline: Scored | None = field(default=None)
    _warned: set[str] = field(default_factory=set, init=False)

    @property
    def runtime(self) -> str:
        return self.spec.kind

    @property
    def int8(self) -> bool:
        return type(self.spec).int8

    # What stages ask (the Bench protocol) -------------------------------------------------------

    def ratio(self, candidate: Net, reference: Net) -> Ratio:
        """Time of one net over another's, both exported, batch 1."""
        with self.exported(candidate) as new, self.exported(reference) as old:
            return self.ratio_of(new, old)

    def ratio_modules(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> Ratio:
        """Time of one bare module over another's; both take ``example``, batch 1."""
        value = example.numpy()
        with tempfile.TemporaryDirectory() as folder:
            runs = {}
            for name, module in {"new": candidate, "old": reference}.items():
                artifact = self.spec.export(module.eval(), example, Path(folder) / name)
                runs[name] = Loads(partial(self._bare, artifact, value))
            return self._compared(runs)

    def predict_ms(self, net: Net) -> float | None:
        """Milliseconds of a net by the latency table; None where this machine has none, or for int8."""
        known = self._table.calibrated and net.quant is None
        return self._table.predict(net).ms if known else None

    def predict_ratio(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> float | None:
        """Time of one bare module over another's in the middle of a net, by the latency table."""
        table = self._table
        if not table.calibrated:
            return None
        return table.module_ms(candidate, example) / table.module_ms(reference, example)

    @property
    def predicting(self) -> str | None:
        """Digest of the latency table that predictions are by; None where this machine has none."""
        return self._table.content

    @cached_property
    def _table(self) -> LatencyTable:
        return LatencyTable(self.spec, self.store)

    def f1(self, net: Net, data: ImageSet) -> float:
        """Macro F1 of the exported net."""
        with self.exported(net) as shipped:
            return self.f1_of(shipped, data)

    # The same of nets that are exported already -------------------------------------------------

    @contextmanager
    def exported(self, net: Net) -> Iterator[Shipped]:
        """Exported for as long as it is looked at."""
        with tempfile.TemporaryDirectory() as folder:
            artifact = export_net(net, self.spec, Path(folder) / "net")
            yield Shipped(folder, self.spec, artifact, net.preprocess.size, self.pictures.how)

    def ratio_of(self, candidate: Shipped, reference: Shipped) -> Ratio:
        """Time of one over another's, batch 1."""
        runs = {"new": self._loads("model", candidate), "old": self._loads("model", reference)}
        return self._compared(runs)

    def f1_of(self, shipped: Shipped, data: ImageSet) -> float:
        """Macro F1."""
        return self._quality(shipped, data, self.pictures.how).f1

    # What the chain asks ------------------------------------------------------------------------

    def score(self, net: Net, key: str, parent: Scored | None) -> tuple[Scored, Beside]:
        """Export (once), reload, measure; and how it stands beside ``parent`` in the same timing.

        Measurements are stored by artifact, runtime, photos, machine, versions and the code that measures,
        so that the same run gives the same numbers again.
        """
        levels = weight_top() if net.quant is not None else None  # as this machine exports them
        key = digest(key, self.spec.canonical(), self._export_code(), self.may_decode_fast, levels)
        artifact = self._artifact(net, key)
        others = [self.baseline.key if self.baseline else None, parent.key if parent else None]
        compared = [self.metric.time, self.outside.key if self.outside else None]
        asked = digest(key, others, compared, self.splits.fingerprint, *decoding(self._photos), *self.facts())
        with self.store.lock(f"measured-{asked}", log=self.log):
            raw = self.store.value("measured", asked)
            if raw is None:
                raw = self._measure(net, key, artifact, parent)
                self.store.put_value("measured", asked, raw)
            stamp(artifact, raw["decode"])
            shipped = Shipped(key, self.spec, artifact, net.preprocess.size, raw["decode"])
        score, beside = judge(
            self.metric, self.splits, raw, self.baseline.score.base if self.baseline else None
        )
        return Scored(shipped, score), beside

    def facts(self) -> list[Any]:
        """What a measurement depends on besides the net: the machine, the libraries, our code."""
        return [machine()["id"], machine()["versions"], source_digest(__name__), self._export_code()]

    def _export_code(self) -> str:
        return source_digest(type(self.spec).__module__)

    def _artifact(self, net: Net, key: str) -> Artifact:
        path = self.store.artifact(key)
        with self.store.lock(f"artifact-{key}", log=self.log):
            return Artifact(path) if (path / MANIFEST).is_file() else export_net(net, self.spec, path)

    # Measuring ----------------------------------------------------------------------------------

    def _measure(self, net: Net, key: str, artifact: Artifact, parent: Scored | None) -> dict[str, Any]:
        size = net.preprocess.size
        agreed = parity(net, self.spec, artifact, self.pictures.at(self.calib, size).images)
        shipped, val, note = self._decoding(Shipped(key, self.spec, artifact, size, self.pictures.how))
        test = self._quality(shipped, self.splits.test, shipped.how)
        counts = count(net.module, net.example())
        return {
            "predicted": {"val": val.predictions.tolist(), "test": test.predictions.tolist()},
            "ece": {"val": val.ece, "test": test.ece},
            "decode": shipped.how,
            "decode_note": note,
            "sessions": {name: one.to_dict() for name, one in self._sessions(shipped, parent).items()},
            "outside": self._measure_outside() if self.baseline is None else None,
            "params": counts.params,
            "macs": counts.macs,
            "layers": counts.layers,
            "bytes": artifact.bytes,
            "agreement": agreed.agreement,
            "max_logit_difference": agreed.max_difference,
        }

    def _decoding(self, shipped: Shipped) -> tuple[Shipped, Quality, str]:
        """How files become pixels when this model is deployed, what it is worth on val so, and why.

        Fast where that gives the labels of the reference; after a baseline that is not, neither is this.
        """
        val = self.splits.val
        reference = self._quality(shipped, val, shipped.how)
        asked = self.may_decode_fast and not is_fast(shipped.how) and self.pictures.has_files(val)
        if not asked or (self.baseline is not None and not is_fast(self.baseline.shipped.how)):
            return shipped, reference, ""
        quick = way(True, is_padded(shipped.how))
        fast = self._quality(shipped, val, quick)
        found = Agreement.of(val.targets, reference.predictions, fast.predictions, val.groups)
        if not found.ok:
            return shipped, reference, str(found)
        return replace(shipped, how=quick), fast, str(found)

    def _quality(self, shipped: Shipped, data: ImageSet, how: How) -> Quality:
        images = self.pictures.at(data, shipped.size, how)
        return evaluate(shipped.runtime.load(shipped.artifact, batch=None), images)

    def _measure_outside(self) -> dict[str, Any] | None:
        model = self.outside
        if model is None:
            return None
        splits = {"val": self.splits.val, "test": self.splits.test}
        predicted = {name: model.predictions(data, self.pictures) for name, data in splits.items()}
        return {"predicted": predicted, "macs": model.macs}

    # Timing -------------------------------------------------------------------------------------

    def _sessions(self, shipped: Shipped, parent: Scored | None) -> dict[str, Session]:
        """The time that the metric counts, beside parent and base; and each kind beside the baseline."""
        own = self.baseline.shipped if self.baseline else None
        outside = self.outside
        base = own if outside is None else _shipped(outside)
        counted = self._session(self.metric.time, shipped, base, parent.shipped if parent else None)
        found = {"counted": counted}
        for kind in KINDS:
            same = kind == self.metric.time and outside is None
            found[kind] = counted if same else self._session(kind, shipped, own, None, _BRIEF_S)
        return found

    def _session(
        self,
        kind: Kind,
        new: Shipped,
        base: Shipped | None,
        parent: Shipped | None,
        brief: float | None = None,
    ) -> Session:
        """All in turns; without a base or parent ``new`` is its own."""
        runs, names = {"new": self._loads(kind, new)}, {new.key: "new"}
        for name, one in (("base", base), ("parent", parent)):
            if one is not None and one.key not in names:
                runs[name], names[one.key] = self._loads(kind, one), name
        at = names[base.key] if base else "new"
        beside = names[parent.key] if parent else "new"
        seconds = brief and brief * len(runs)
        timed = interleaved(runs, reference=at, against=beside, seconds=seconds, cores=self.spec.threads)
        return Session.of(timed["new"], timed[beside], timed[at])

    def _compared(self, runs: dict[str, Loads]) -> Ratio:
        """Time of new over old; a warning reaches the log, once as long as it stays the same."""
        timed = interleaved(runs, reference="old", cores=self.spec.threads)["new"]
        if timed.warning and timed.warning not in self._warned:
            self._warned.add(timed.warning)
            self.log(f"timing: {timed.warning}")
        return timed.ratio

    def _bare(self, artifact: Artifact, value: np.ndarray) -> Callable[[], object]:
        return bound(self.spec.load(artifact), value)

    def _loads(self, kind: Kind, shipped: Shipped) -> Loads:
        return Loads(partial(one_call, kind, shipped, self._photos))

    @cached_property
    def _photos(self) -> list[bytes]:
        return encoded(self.splits.test, self.pictures.root)


def _shipped(outside: Outside) -> Shipped:
    model = outside.model
    return Shipped(outside.key, model.runtime, model.artifact, model.size, model.how)
