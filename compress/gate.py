"""Whether a stage stays in the chain: decided on val, by what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from compress.ratio import Ratio
from compress.spec import Spec


class Within(Spec):
    """Keep a stage that costs at most this many score points."""

    within: float = Field(ge=0.0, description="Score points a stage may cost and still be kept.")


Gate = Literal["better", "always"] | Within


@dataclass(frozen=True)
class Evidence:
    """What a gate sees of a candidate and its parent, lower points are better.

    Attributes:
        parent: points on val, the better of when it was scored and when it was timed beside the candidate.
        candidate: points on val with its own measured time.
        tied: points on val if its time is taken as the parent's.
        ratio: time candidate / parent; a tie when its 95 % interval contains 1.
    """

    parent: float
    candidate: float
    tied: float
    ratio: Ratio


def decide(gate: Gate, seen: Evidence) -> tuple[bool, str]:
    """Keep or not, and why in one line.

    A time interval that contains 1 is a tie: the candidate must then be better at equal time too,
    so that noise in the clock alone never keeps a stage.
    """
    ratio = seen.ratio
    points = max(seen.candidate, seen.tied) if ratio.tie else seen.candidate
    time = f"time x{ratio.low:.3f} to x{ratio.high:.3f} of its parent's" + (", a tie" if ratio.tie else "")
    line = f"timed side by side, score_val {seen.parent:.3f} -> {points:.3f}, {time}"
    if gate == "always":
        return True, f"gate always; {line}"
    if isinstance(gate, Within):
        kept = points <= seen.parent + gate.within
        return kept, f"{'within' if kept else 'beyond'} {gate.within:g} points; {line}"
    kept = points < seen.parent
    return kept, f"{'better' if kept else 'not better'}; {line}"
