"""Every interval of a run draws near-duplicates together."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scored_runs import LABELS, MODEL, coloured, recipe, score_of, steps

from compress.data.images import ImageSet
from compress.recipe import Recipe
from compress.report.run_folder import build
from compress.stages.finetune import Finetune
from compress.step import Step

pytestmark = pytest.mark.usefixtures("in_a_hurry")
SHOTS = 6


def photos(count: int, seed: int, shots: int, groups: bool) -> ImageSet:
    """``count`` photos of each class, each ``shots`` times; these may be called one group."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(len(LABELS)), count)
    images = np.stack([coloured(rng, int(target))[:24, :24] for target in targets])
    member = np.repeat(np.arange(len(targets)), shots) if groups else None
    return ImageSet(np.repeat(images, shots, axis=0), np.repeat(targets, shots), LABELS, groups=member)


def test_shots_of_one_object_make_no_interval_narrower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each photo six times tells as much as once: one by one, intervals are narrower by sqrt(6) = 2.4."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.yaml").write_text(MODEL)
    value = recipe("groups", stages=(Finetune(epochs=1, lr=0.1),), gate="always")
    apart, together = (
        widths(
            value,
            steps(value, data=(photos(30, 0, 1, False), *(photos(20, i, SHOTS, groups) for i in (1, 2)))),
        )
        for groups in (False, True)
    )
    for figure in ("f1_val", "f1_test", "change_of_f1"):
        assert 1.7 < together[figure] / apart[figure] < 3.2, figure
    for figure in ("score_test", "gate"):  # the clock is in these, too
        assert together[figure] > 1.2 * apart[figure], figure


def widths(value: Recipe, found: list[Step]) -> dict[str, float]:
    """Of the 95 % intervals of the last step."""
    score, last = score_of(found[-1]), found[-1]
    change = re.search(r"95 % of the change (\S+) to ([^\s)]+)\)", last.why)
    assert change is not None, last.why
    intervals = {
        "f1_val": score.f1_val_interval,
        "f1_test": score.f1_test_interval,
        "change_of_f1": build(value, found, {})["final"]["f1_test_change_interval"],
        "score_test": score.points_test_interval,
        "gate": (float(change[1]), float(change[2])),
    }
    return {figure: high - low for figure, (low, high) in intervals.items()}
