"""What the inference clock tells."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from compress.ratio import Ratio


@dataclass(frozen=True)
class Timing:
    """How long one run takes.

    Attributes:
        median_ms, p10_ms, p90_ms: of the ``n`` calls that count, a call's time divided by the inputs it
            works on.
        ratio: paired time relative to the reference, with its 95 % interval; (1, 1, 1) for itself. It
            compares the lower quartiles of sections; inside a tie nothing ranks.
        ratio_against: the same relative to a second run of the same session; ``ratio`` without one.
        loads: how often the run was loaded.
        blocks, dropped: blocks that count for ``ratio``, and blocks dropped as disturbed.
        sections, disturbed: sections of this run, and how many of them do not count, by reason.
        others: cores that other processes kept busy meanwhile.
        busy: too few blocks were undisturbed, so all count.
        warning: why these times are to be taken with care; None when they are not.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    n: int
    ratio: Ratio
    ratio_against: Ratio
    loads: int
    blocks: int
    dropped: int
    sections: int
    disturbed: Mapping[str, int]
    others: float
    busy: bool
    warning: str | None

    @property
    def note(self) -> str:
        """How it was timed, in one line."""
        why = told(self.disturbed)
        return (
            f"{self.loads} load{'s' * (self.loads > 1)} x {self.blocks} blocks, {self.dropped} dropped; "
            + (f"of {self.sections} sections {why}; " if why else "")
            + f"other processes kept {self.others:.1f} of {os.cpu_count()} cores busy"
        )


def told(disturbed: Mapping[str, int]) -> str:
    """How many sections did not count, by reason; empty where all did."""
    return ", ".join(f"{count} {reason}" for reason, count in disturbed.items() if count)


class Timings(dict[str, Timing]):
    """A ``Timing`` by name, and the ratio of any two of them."""

    def __init__(self, timings: Mapping[str, Timing], ratio: Callable[[str, str], Ratio]) -> None:
        super().__init__(timings)
        self.ratio = ratio  # of a candidate's time to a reference's, by their names

    def paired_ms(self) -> dict[str, float]:
        """Milliseconds of each run by the paired ratios, which are steadier than medians; their common scale
        is taken from the medians of all."""
        ratios = np.array([one.ratio.median for one in self.values()])
        medians = np.array([one.median_ms for one in self.values()])
        scale = np.exp(np.log(medians / ratios).mean())
        return dict(zip(self, (scale * ratios).tolist(), strict=True))
