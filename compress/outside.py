"""The model of ``metric.baseline``: another run's or artifact's, measured beside this run's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError
from compress.measure.score import F1Macs
from compress.predict import load

if TYPE_CHECKING:
    from compress.data.images import ImageSet
    from compress.data.pictures import Pictures
    from compress.measure.score import Metric
    from compress.predict import Predictor


@dataclass(frozen=True)
class Outside:
    """A model that this run only compares with.

    Attributes:
        model: ready to run, with as many threads as this run has.
        macs: as its own run counted them; None for an artifact without a report.
        key: digest of its files.
    """

    model: Predictor
    macs: int | None
    key: str

    @classmethod
    def of(cls, metric: Metric, labels: tuple[str, ...], threads: int) -> Outside | None:
        """The artifact, or the final model of the run, at ``metric.baseline``; None where that is not set.

        Raises:
            InputError: no model there, one whose runtime is not installed, or one of other classes; its
                multiply-accumulates are not known, and the metric has no others to compare with.
        """
        path = metric.baseline
        if path is None:
            return None
        model = load(path)
        if set(model.labels) != set(labels):
            known, wanted = ", ".join(model.labels), ", ".join(labels)
            raise InputError(f"metric.baseline: {path} tells {known} apart; the data has {wanted}")
        model.runtime = model.runtime.model_copy(update={"threads": threads})
        files = sorted(f for f in model.artifact.path.iterdir() if f.is_file())
        hashed = hashlib.sha256()
        for file in files:
            hashed.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        macs = _macs(model.artifact.path)
        if macs is None and isinstance(metric, F1Macs) and metric.macs_base is None:
            raise InputError(
                f"metric.baseline: {path} has no report beside it that says its multiply-accumulates: "
                "give a run's folder, or metric.macs_base"
            )
        return cls(model, macs, hashed.hexdigest()[:20])

    def predictions(self, data: ImageSet, pictures: Pictures) -> list[int]:
        """Class indices of ``data``, its labels matched by name."""
        model = self.model
        index = np.array([data.labels.index(label) for label in model.labels])
        images = pictures.at(data, model.size, model.how).images
        found: list[int] = index[model.logits(images).argmax(axis=1)].tolist()
        return found


def _macs(artifact: Path) -> int | None:
    """From the report of the run that the artifact lies in."""
    step = {"artifact": "final", "baseline": "baseline"}.get(artifact.resolve().name)
    try:
        report: dict[str, Any] = json.loads((artifact.resolve().parent / "report.json").read_text())
        return int(report[step]["macs"]) if step else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
