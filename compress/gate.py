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
    """Keep or not, and why in one line.

    A time interval that contains 1 is a tie: by the measured score the candidate must then be better at
    equal time too, so that noise in the clock alone never keeps a stage. A gate with a confidence goes by
    the resamples, which have that noise in them.
    """
    ratio = seen.ratio
    points = max(seen.candidate, seen.tied) if ratio.tie else seen.candidate
    time = f"time x{ratio.low:.3f} to x{ratio.high:.3f} of its parent's" + (", a tie" if ratio.tie else "")
    low, high = seen.interval
    noise = "noise alone could do that" if low <= 0 <= high else "more than noise"
    change = f"{seen.parent:.3f} -> {points:.3f} (95 % {low:+.3f} to {high:+.3f}: {noise})"
    line = f"timed side by side, score_val {change}, {time}"
    if gate == "always":
        return True, f"gate always; {line}"
    if gate == "better":
        kept = points < seen.parent
        return kept, f"{'better' if kept else 'not better'}; {line}"
    aim = "better" if gate.within is None else f"within {gate.within:g} points"
    if gate.confidence is not None:
        share = seen.share(gate.within)
        kept = share >= gate.confidence
        sure = f"in {share:.1%} of the resamples, {'' if kept else 'not the '}{gate.confidence:.0%} asked for"
        return kept, f"{aim} {sure}; {line}"
    kept = points <= seen.parent + (gate.within or 0.0)
    return kept, f"{aim if kept else aim.replace('within', 'beyond')}; {line}"
