"""What search_hypervolume.py says of two arms' areas and fronts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.ablation.estimates import Noise, estimate
from search.hypervolume import Point

AIM = 1.5


def verdict(ours: Sequence[float], original: Sequence[float]) -> bool:
    """Print the ratios of the areas; whether the lower one is what is claimed."""
    mine, theirs = float(np.mean(ours)), float(np.mean(original))
    print(f"mean area on test: ours {mine:.3f}, original {theirs:.3f}")
    if not theirs:
        print("no ratio: the original found no net within twice the baseline's time")
        return False
    each = [own / other if other else float("inf") for own, other in zip(ours, original, strict=True)]
    told, mean = ", ".join(f"{ratio:.2f}" for ratio in each), 0.0
    if all(ours) and all(original):
        found = estimate([float(np.log(ratio)) for ratio in each], Noise(0.0, 0.0)).exp()
        mean, known = found.mean, f" (95 % {found.low:.2f} to {found.high:.2f})" if len(each) > 1 else ""
        told += f"; geometric mean {mean:.2f}{known}"
    elif all(ours):  # in some seed the original found nothing: then the means alone can be compared
        mean = float("inf")
    low = min(mean, mine / theirs)
    print(
        f"ratio by seed: {told}\nratio of the means {mine / theirs:.2f}; the lower {low:.2f}, the aim {AIM}"
    )
    return low >= AIM


def as_exact(ours: Sequence[Point], original: Sequence[Point]) -> str:
    """What the area says little of, as the fastest nets are all far from twice the baseline's time."""
    if not original:
        return "the original found nothing"
    f1, ratio = max(original, key=lambda point: (point[0], -point[1]))  # of equally exact ones the fastest
    times = [own_ratio for own_f1, own_ratio in ours if own_f1 >= f1]
    best = f"the original's best F1, {f1:.3f} at {ratio:.3f}"
    return (
        f"ours reaches {best}, in {min(times) / ratio:.2f} of its time"
        if times
        else f"no net of ours has {best}"
    )
