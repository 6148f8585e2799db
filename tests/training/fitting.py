"""Short trainings of a small net on digits, and what they left."""

from __future__ import annotations

from typing import Any

from tinynet import DIGITS, digits

from compress.net import Net
from compress.train import FitResult, TrainSpec, fit


def spec(**changes: Any) -> TrainSpec:
    settings: dict[str, Any] = {"epochs": 3, "augment": {"kind": "none"}, "device": "cpu"}
    return TrainSpec.model_validate({**settings, **changes})


def train(net: Net, settings: TrainSpec, images: int = 100, **rest: Any) -> FitResult:
    rest.setdefault("log", lambda line: None)
    return fit(net.module, digits(0, images), settings, preprocess=DIGITS, **rest)
