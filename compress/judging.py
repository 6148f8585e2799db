"""From what was measured on an artifact to its score: pure functions, no clock and no model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.measure.quality import Quality, quality, score_interval
from compress.ratio import Ratio
from compress.step import Base, Latency, Score

if TYPE_CHECKING:
    from compress.data.images import Splits
    from compress.measure.latency import Timing
    from compress.measure.score import Metric


@dataclass(frozen=True)
class Session:
    """An artifact in one interleaved timing session with a base and its parent.

    Attributes:
        median, p10, p90: milliseconds of ``n`` undisturbed calls.
        ratio: time relative to the base's, ``to_parent`` to its parent's; 1 where it is its own.
        parent_ratio: time of the parent relative to the base's.
        base_ms: median of the base.
        note: how it was timed, in one line.
        warning: why these times are to be taken with care.
    """

    median: float
    p10: float
    p90: float
    n: int
    ratio: Ratio
    to_parent: Ratio
    parent_ratio: float
    base_ms: float
    note: str
    warning: str | None

    @classmethod
    def of(cls, new: Timing, parent: Timing, base: Timing) -> Session:
        return cls(
            new.median_ms,
            new.p10_ms,
            new.p90_ms,
            new.n,
            new.ratio,
            new.ratio_against,
            parent.ratio.median,
            base.median_ms,
            new.note,
            new.warning,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Session:
        ratios = {name: Ratio(**content[name]) for name in ("ratio", "to_parent")}
        return cls(**{**content, **ratios})


@dataclass(frozen=True)
class Beside:
    """A candidate beside its parent, timed in turns with the base in one session.

    Attributes:
        ratio: time candidate / parent.
        parent_ratio: time parent / base, as it was in that session.
        note: how it was timed, in one line.
        warning: why this time is to be taken with care.
    """

    ratio: Ratio
    parent_ratio: float
    note: str
    warning: str | None


def judge(metric: Metric, splits: Splits, raw: dict[str, Any], base: Base | None) -> tuple[Score, Beside]:
    """Raw measurements of an artifact (``Scorer``'s) to its score and how it stands beside its parent.

    Args:
        base: what the metric compares with. None: this is the baseline, and ``raw`` says what the base is.
    """
    sessions = {name: Session.from_dict(content) for name, content in raw["sessions"].items()}
    counted, alone, whole = sessions["counted"], sessions["model"], sessions["end_to_end"]
    val, test = (_quality(splits, raw["predicted"], name) for name in ("val", "test"))
    base = base or _base(splits, raw, counted, val, test)
    time = base.time_ms * counted.ratio.median
    macs = {"macs": raw["macs"]}
    score = Score(
        f1_val=val.f1,
        f1_test=test.f1,
        f1_val_interval=val.interval,
        f1_test_interval=test.interval,
        f1_per_class=test.f1_per_class,
        accuracy_test=test.accuracy,
        latency=_latency(alone),
        end_to_end_ms=whole.median,
        params=raw["params"],
        macs=raw["macs"],
        layers=raw["layers"],
        bytes=raw["bytes"],
        points_val=_with(metric, base, base.f1_val).points(f1=val.f1, time=time, **macs),
        points_test=_with(metric, base, base.f1_test).points(f1=test.f1, time=time, **macs),
        points_test_interval=score_interval(
            metric,
            splits.test.targets,
            test.predictions,
            np.asarray(base.predictions_test),
            counted.ratio,
            base_time=base.time_ms,
            macs=raw["macs"],
            base_macs=base.macs,
            groups=splits.test.groups,
        ),
        agreement=raw["agreement"],
        max_logit_difference=raw["max_logit_difference"],
        predictions_val=tuple(raw["predicted"]["val"]),
        predictions_test=tuple(raw["predicted"]["test"]),
        base=base,
        time=counted.ratio,
        end_to_end_ratio=whole.ratio,
        decode=raw["decode"],
        decode_note=raw["decode_note"],
        confusion_val=val.confusion,
        confusion_test=test.confusion,
        ece_val=raw["ece"]["val"],
        ece_test=raw["ece"]["test"],
    )
    return score, Beside(counted.to_parent, counted.parent_ratio, counted.note, counted.warning)


def _latency(session: Session) -> Latency:
    ratio = session.ratio
    low_high = (ratio.low, ratio.high)
    return Latency(session.median, session.p10, session.p90, session.n, ratio.median, low_high)


def _with(metric: Metric, base: Base, f1: float) -> Metric:
    return metric.with_base(f1=f1, time=base.time_ms, macs=base.macs)


def _base(splits: Splits, raw: dict[str, Any], counted: Session, val: Quality, test: Quality) -> Base:
    """The baseline itself, or the model that ``metric.baseline`` names."""
    macs, predicted = raw["macs"], raw["predicted"]
    if (outside := raw["outside"]) is not None:
        macs, predicted = outside["macs"], outside["predicted"]
        val, test = (_quality(splits, predicted, name) for name in ("val", "test"))
    return Base(val.f1, test.f1, counted.base_ms, macs, tuple(predicted["val"]), tuple(predicted["test"]))


def _quality(splits: Splits, predicted: dict[str, list[int]], name: str) -> Quality:
    data = splits.val if name == "val" else splits.test
    return quality(data.targets, np.asarray(predicted[name]), data.labels, groups=data.groups)
