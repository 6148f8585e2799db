"""What a run yields: one scored step per stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compress.htmltable import html_table
from compress.ratio import Ratio

if TYPE_CHECKING:
    from compress.data.images import ImageSet

Interval = tuple[float, float]


@dataclass(frozen=True)
class Latency:
    """Batch-1 time of one exported artifact.

    Attributes:
        median, p10, p90: milliseconds a call; ``n`` calls were timed.
        ratio: paired time relative to the baseline, below 1 is faster; with its 95 % interval.
    """

    median: float
    p10: float
    p90: float
    n: int
    ratio: float
    ratio_interval: Interval


@dataclass(frozen=True)
class Base:
    """What a metric compares with: the recipe's own baseline, or the model of ``metric.baseline``.

    Attributes:
        time_ms: the time that the metric counts (``metric.time``).
        macs: None when they are not known.
        predictions_val, predictions_test: class indices, for paired intervals.
    """

    f1_val: float
    f1_test: float
    time_ms: float
    macs: int | None
    predictions_val: tuple[int, ...] = field(repr=False)
    predictions_test: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class Score:
    """Everything measured on one exported artifact.

    Attributes:
        f1_val, f1_test: macro F1 of the artifact's own outputs; intervals by bootstrap (95 %).
        f1_per_class: on test, by label.
        points_val, points_test: the metric, lower is better; the baseline of ``f1_time`` is 1.
        end_to_end_ms: an encoded image to its label, one at a time (median); ``end_to_end_ratio`` is
            paired with the baseline's.
        macs: multiply-accumulates of one image; ``layers``: convolutions and linear layers.
        agreement: share of calibration images to which artifact and float module give one label.
        max_logit_difference: largest absolute difference of their logits there.
        base: what the metric compares with; ``time``: the time that it counts, relative to the base's.
        decode: how files become pixels when deployed; ``decode_note`` says why, with figures.
        confusion_val, confusion_test: ``[i][j]`` images of class i were called j.
        ece_val, ece_test: expected calibration error (Guo et al. 2017, 15 bins) of the runtime's logits.
    """

    f1_val: float
    f1_test: float
    f1_val_interval: Interval
    f1_test_interval: Interval
    f1_per_class: dict[str, float | None]
    accuracy_test: float
    latency: Latency
    end_to_end_ms: float
    params: int
    macs: int
    layers: int
    bytes: int
    points_val: float
    points_test: float
    points_test_interval: Interval
    agreement: float
    max_logit_difference: float
    predictions_val: tuple[int, ...]
    predictions_test: tuple[int, ...]
    base: Base
    time: Ratio
    end_to_end_ratio: Ratio
    decode: str
    decode_note: str
    confusion_val: tuple[tuple[int, ...], ...]
    confusion_test: tuple[tuple[int, ...], ...]
    ece_val: float
    ece_test: float


@dataclass(frozen=True)
class Step:
    """One stage's outcome. ``score`` is None when the stage was skipped before being measured.

    Attributes:
        label: the name in tables; ``kind`` of the stage, ``baseline`` or ``control``.
        key: content address of the net after this stage.
        kept: whether the chain goes on from it; ``why`` says what decided.
        seconds: what it took when it was computed, from its plan to its score, in all processes that did a
            part; ``cached``: the net came from the store.
        notes: what the plan touched, how far, why not the rest.
        artifact: folder of the exported model in the store.
        test: the test photos, on the baseline's step alone: a report shows some.
        given: on the baseline's step, name and content of the model and data that ``run`` was given.
    """

    label: str
    kind: str
    key: str
    kept: bool
    why: str
    score: Score | None
    seconds: float
    cached: bool
    epochs: int = 0
    notes: tuple[str, ...] = ()
    artifact: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    test: ImageSet | None = field(default=None, repr=False, compare=False)
    given: dict[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """For notebooks; ``compress.table(steps)`` shows several."""
        row = self.to_dict()
        names = ("f1_val", "f1_test", "latency_ratio", "params", "macs", "bytes", "score_val", "score_test")
        figures = [(name.replace("_", " "), row[name]) for name in names if row[name] is not None]
        state = "kept" if self.kept else "not kept" if self.score else "skipped"
        return html_table(("", self.label), [(state, self.why), *figures])

    def to_dict(self) -> dict[str, Any]:
        """The report's STEP: nulls where nothing was measured."""
        s = self.score
        lat = s.latency if s else None
        return {
            "label": self.label,
            "kind": self.kind,
            "kept": self.kept,
            "why": self.why,
            "f1_val": s and s.f1_val,
            "f1_test": s and s.f1_test,
            "latency_ms": lat and {"median": lat.median, "p10": lat.p10, "p90": lat.p90, "n": lat.n},
            "latency_ratio": lat and lat.ratio,
            "end_to_end_ms": s and s.end_to_end_ms,
            "end_to_end_ratio": s and s.end_to_end_ratio.median,
            "params": s and s.params,
            "macs": s and s.macs,
            "layers": s and s.layers,
            "bytes": s and s.bytes,
            "score_val": s and s.points_val,
            "score_test": s and s.points_test,
            "seconds": round(self.seconds, 2),
            "cached": self.cached,
            "epochs": self.epochs,
            "key": self.key,
            "latency_ratio_interval": lat and list(lat.ratio_interval),
            "f1_val_interval": s and list(s.f1_val_interval),
            "f1_test_interval": s and list(s.f1_test_interval),
            "score_test_interval": s and list(s.points_test_interval),
            "f1_per_class": s and s.f1_per_class,
            "accuracy_test": s and s.accuracy_test,
            "agreement": s and s.agreement,
            "max_logit_difference": s and s.max_logit_difference,
            "end_to_end_ratio_interval": s and [s.end_to_end_ratio.low, s.end_to_end_ratio.high],
            "time_ratio": s and s.time.median,
            "time_ratio_interval": s and [s.time.low, s.time.high],
            "base": s and {name: getattr(s.base, name) for name in ("f1_val", "f1_test", "time_ms", "macs")},
            "decode": s and s.decode,
            "decode_note": s and s.decode_note,
            "confusion_val": s and [list(row) for row in s.confusion_val],
            "confusion_test": s and [list(row) for row in s.confusion_test],
            "ece_val": s and s.ece_val,
            "ece_test": s and s.ece_test,
            "predictions_val": s and list(s.predictions_val),
            "predictions_test": s and list(s.predictions_test),
            "notes": list(self.notes),
            **self.extra,
        }
