"""What sends a run's figures to TensorBoard or MLflow; see ``compress.track`` for the recipe's key."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError
from compress.report.figures import FOLDER

if TYPE_CHECKING:
    from compress.recipe import Recipe

_LONGEST = 500  # characters of a parameter or a tag, which every server takes
_REPORTS = ("report.md", "report.html", "report.json", "recipe.yaml")


class Tracker(ABC):
    """Where a run's figures go while it runs."""

    @abstractmethod
    def step(self, index: int, label: str, figures: Mapping[str, float], why: str) -> None:
        """One step; ``figures`` by name, ``index`` counts from the baseline's 0."""

    @abstractmethod
    def report(self, folder: Path) -> None:
        """The finished run: its reports, figures and artifact lie in ``folder``."""

    @abstractmethod
    def close(self, ended: bool) -> None:
        """Whether the run ended, or was stopped by an error."""


class Tensorboard(Tracker):
    def __init__(self, folder: Path, recipe: Recipe) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder), purge_step=0)
        self.writer.add_text("recipe", f"```yaml\n{recipe.to_yaml()}\n```")

    def step(self, index: int, label: str, figures: Mapping[str, float], why: str) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, index)
        self.writer.add_text("steps", f"**{label}**: {why}", index)
        self.writer.flush()

    def report(self, folder: Path) -> None:
        import numpy as np
        from PIL import Image

        self.writer.add_text("report", (folder / "report.md").read_text(encoding="utf-8"))
        self.writer.add_text("artifact", str((folder / "artifact").resolve()))
        for file in sorted((folder / FOLDER).glob("*.png")):
            with Image.open(file) as image:
                self.writer.add_image(file.stem, np.asarray(image.convert("RGB")), dataformats="HWC")
        self.writer.flush()

    def close(self, ended: bool) -> None:
        self.writer.close()


class Mlflow(Tracker):
    """A server's address, or None for the environment's, else a file below ``runs/``."""

    def __init__(self, uri: str | None, experiment: str, recipe: Recipe) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves this machine unasked
        from mlflow.tracking import MlflowClient

        uri, place = uri or os.environ.get("MLFLOW_TRACKING_URI"), None
        if uri is None:
            home = Path("runs/.mlflow").resolve()
            home.mkdir(parents=True, exist_ok=True)
            uri, place = f"sqlite:///{home / 'mlflow.db'}", (home / "artifacts").as_uri()
        self.uri = uri
        with self._asked():
            self.client: Any = MlflowClient(tracking_uri=uri)
            known = self.client.get_experiment_by_name(experiment)
            id_ = known.experiment_id if known else self.client.create_experiment(experiment, place)
            self.run = self.client.create_run(id_, run_name=recipe.name).info.run_id
            for key, value in _flat(recipe.canonical()):
                self.client.log_param(self.run, key, value)

    def step(self, index: int, label: str, figures: Mapping[str, float], why: str) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self._asked():
            metrics = [Metric(name, value, now, index) for name, value in figures.items()]
            self.client.log_batch(self.run, metrics=metrics)
            self.client.set_tag(self.run, f"step.{index}", f"{label}: {why}"[:_LONGEST])

    def report(self, folder: Path) -> None:
        with self._asked():
            for name in _REPORTS:
                self.client.log_artifact(self.run, str(folder / name))
            self.client.log_artifacts(self.run, str(folder / FOLDER), FOLDER)
            self.client.set_tag(self.run, "artifact", str((folder / "artifact").resolve()))

    def close(self, ended: bool) -> None:
        with self._asked():
            self.client.set_terminated(self.run, "FINISHED" if ended else "FAILED")

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """A server that fails is one line; the run goes on from there when started again."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise CompressError(f"track: mlflow at {self.uri}: {str(error).splitlines()[0]}") from error


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and short texts: MLflow's parameters are strings, and not long ones."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for i, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{i}")
    elif value is not None:
        yield path, str(value)[:_LONGEST]
