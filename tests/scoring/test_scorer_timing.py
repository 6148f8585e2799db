"""What stages ask of the clock."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest
import torch
from torch import nn

from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.scoring import Scorer

pytestmark = pytest.mark.usefixtures("in_a_hurry")


def test_why_a_stages_timing_is_to_be_taken_with_care_is_logged_once() -> None:
    """More threads than there are cores wait for each other."""
    lines: list[str] = []
    unused = cast(Any, None)
    many = OnnxRuntime(threads=(os.cpu_count() or 1) + 1)
    scorer = Scorer(many, unused, unused, unused, unused, unused, log=lines.append)
    for _ in range(2):
        ratio = scorer.ratio_modules(nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 8, 8))
        assert ratio.low <= ratio.median <= ratio.high
    assert len(lines) == 1
    assert lines[0].startswith(f"timing: {many.threads} threads were timed on ")
