"""Follow runs in TensorBoard or MLflow: one key of the recipe, nothing to call."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from compress.errors import MissingExtraError
from compress.spec import Spec

if TYPE_CHECKING:
    from compress.recipe import Recipe
    from compress.step import Step
    from compress.trackers import Tracker


class TensorboardTrack(Spec):
    """Scalars over the steps, the figures and ``report.md``: ``tensorboard --logdir runs/.tensorboard``."""

    kind: Literal["tensorboard"] = "tensorboard"
    folder: Path = Field(
        Path("runs/.tensorboard"), description="Logs of all runs; each run has a folder of its name in it."
    )

    def check(self) -> list[str]:
        """A line when TensorBoard is not installed; nothing is imported."""
        return _installed("tensorboard", "tensorboard")

    def open(self, recipe: Recipe) -> Tracker:
        """A writer that takes the place of what an earlier run of that name wrote."""
        from compress.trackers import Tensorboard

        return Tensorboard(self.folder / recipe.name, recipe)


class MlflowTrack(Spec):
    """An MLflow run: the recipe as parameters, figures as metrics over the steps, reports as artifacts."""

    kind: Literal["mlflow"] = "mlflow"
    uri: str | None = Field(
        None, description="Tracking server; $MLFLOW_TRACKING_URI, else the file runs/.mlflow/mlflow.db."
    )
    experiment: str = Field("beyondnas", min_length=1, description="Made if it is not there.")

    def check(self) -> list[str]:
        """A line when MLflow is not installed; nothing is imported."""
        return _installed("mlflow", "mlflow")

    def open(self, recipe: Recipe) -> Tracker:
        """A new MLflow run.

        Raises:
            CompressError: the server does not answer.
        """
        from compress.trackers import Mlflow

        return Mlflow(self.uri, self.experiment, recipe)


TrackSpec = Annotated[TensorboardTrack | MlflowTrack, Field(discriminator="kind")]


@contextmanager
def tracking(recipe: Recipe) -> Iterator[Tracker | None]:
    """The recipe's tracker while a run goes on; None without one."""
    if recipe.track is None:
        yield None
        return
    tracker, ended = recipe.track.open(recipe), False
    try:
        yield tracker
        ended = True
    finally:
        tracker.close(ended)


def figures_of(step: Step) -> dict[str, float]:
    """What is tracked of a step, by name; a step that was skipped has only its seconds."""
    found: dict[str, float] = {"seconds": step.seconds, "kept": float(step.kept)}
    if (score := step.score) is None:
        return found
    return found | {
        "f1/val": score.f1_val,
        "f1/test": score.f1_test,
        "score/val": score.points_val,
        "score/test": score.points_test,
        "time/ms": score.latency.median,
        "time/ratio": score.latency.ratio,
        "time/end_to_end_ms": score.end_to_end_ms,
        "size/params": score.params,
        "size/macs": score.macs,
        "size/bytes": score.bytes,
    }


def _installed(package: str, extra: str) -> list[str]:
    if importlib.util.find_spec(package) is not None:
        return []
    return list(MissingExtraError(package, extra).problems)
