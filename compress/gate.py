"""Whether a stage stays in the chain: decided on val, by what was measured and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from compress.ratio import Ratio
from compress.spec import Spec


class Within(Spec):
    """Keep a stage that costs at most so many score points, or one that is better for sure.

    ``{within: 0.02}`` goes by the measured score. ``{confidence: 0.9}`` keeps a stage only if it is better
    in 90 % of the resamples of val's images and of the clock; ``{within: 0.02, confidence: 0.9}`` one that
    costs at most 0.02 points in 90 % of them.
    """

    within: float | None = Field(None, ge=0.0, description="Score points a stage may cost and still be kept.")
    confidence: float | None = Field(
        None, gt=0.5, lt=1.0, description="Share of the resamples of val and of the clock that must agree."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Within:
        if self.within is None and self.confidence is None:
            raise ValueError("a mapping with within, confidence or both, as in {within: 0.02}")
        return self


Gate = Literal["better", "always"] | Within


@dataclass(frozen=True)
class Evidence:
    """What a gate sees of a candidate and its parent, lower points are better.

    Attributes:
        parent: points on val, the better of when it was scored and when it was timed beside the candidate.
        candidate: points on val with its own measured time.
        tied: points on val if its time is taken as the parent's.
        ratio: time candidate / parent; a tie when its 95 % interval contains 1.
        differences: candidate minus parent on resamples of val's images (the same for both) and of the
            time ratio; at least one.
    """

    parent: float
    candidate: float
    tied: float
    ratio: Ratio
    differences: Sequence[float]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of candidate minus parent."""
        ordered, last = sorted(self.differences), len(self.differences) - 1
        return ordered[round(0.025 * last)], ordered[round(0.975 * last)]

    def share(self, within: float | None) -> float:
        """The part of the resamples in which the candidate is better, or costs at most ``within``."""
        fine = [d < 0 if within is None else d <= within for d in self.differences]
        return sum(fine) / len(fine)


def decide(gate: Gate, seen: Evidence) -> tuple[bool, str]:
    """Keep or not, and in one line why, by what figures and how sure that is.

    A time interval that contains 1 is a tie: by the measured score the candidate must then be better at
    equal time too, so that noise in the clock alone never keeps a stage. A gate with a confidence goes by
    the resamples, which have that noise in them.
    """
    points = max(seen.candidate, seen.tied) if seen.ratio.tie else seen.candidate
    figures = _figures(seen, points)
    if gate == "always":
        return True, f"gate always; {figures}"
    within, confidence = (None, None) if gate == "better" else (gate.within, gate.confidence)
    aim = "better" if within is None else f"within {within:g} points"
    share = seen.share(within)
    if confidence is not None:
        kept = share >= confidence
        asked = f"{'' if kept else 'not the '}{confidence:.0%} asked for"
        return kept, f"{aim} in {share:.1%} of the resamples, {asked}; {figures}"
    kept = points < seen.parent if within is None else points <= seen.parent + within
    if not kept:
        return False, f"{'not better' if within is None else aim.replace('within', 'beyond')}; {figures}"
    high = seen.interval[1]
    if high < 0 if within is None else high <= within:
        return True, f"{aim}; {figures}"
    how_sure = f"not for sure: in {share:.0%} of the resamples of val and the clock"
    return True, f"{aim} as measured ({how_sure}), which is all this gate asks; {figures}"


def _figures(seen: Evidence, points: float) -> str:
    """The change of the score, whether noise could have made it, and the time: what decided, for a person."""
    low, high = seen.interval
    noise = "may be noise" if low <= 0 <= high else "more than noise"
    score = f"score_val {seen.parent:.3f} -> {points:.3f} beside its parent"
    change = f"{score} ({noise}: 95 % of the change {low:+.3f} to {high:+.3f})"
    ratio = seen.ratio
    time = f"time x{ratio.low:.3f} to x{ratio.high:.3f} of its parent's"
    if not ratio.tie:
        return f"{change}, {time}"
    return f"{change}, {time}: a tie" + (", so no gain in time counts" if seen.candidate < seen.tied else "")
