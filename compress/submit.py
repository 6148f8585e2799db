"""A run's final model over a folder of images, one at a time from file to label; no torch needed."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.decode import BadImageError
from compress.data.notes import few
from compress.data.scan import files_below
from compress.errors import InputError
from compress.measure.each import each
from compress.outputs import check_output
from compress.report.run_folder import read_report
from compress.store import write_text

if TYPE_CHECKING:
    from compress.predict import Predictor

CSV, JSON = "submission.csv", "output.json"
_PROFILED = 100  # calls of the model alone, as many as the competition's script made
_BAD_SHARE = 0.01  # of the files, as in training


@dataclass(frozen=True)
class Labelled:
    """One file: its name in the submission, label and probability, and seconds by the clock.

    Attributes:
        preprocess_s: reading, decoding and resizing.
        model_s: the model and the largest logit; what the competition listed per file.
    """

    name: str
    label: str
    probability: float
    preprocess_s: float
    model_s: float


@dataclass(frozen=True)
class Submission:
    """All files in their order, and the totals.

    Attributes:
        all_s: wall seconds from loading the model to the last label.
        profile_s: mean seconds of the model alone, again and again on the first image.
        macs: of the final model, as the run's report has them.
        skipped: a line for each file that could not be read.
    """

    files: tuple[Labelled, ...]
    all_s: float
    profile_s: float
    macs: int
    skipped: tuple[str, ...]

    def layout(self) -> dict[str, Any]:
        """The JSON of the competition's script: label and model seconds per file, totals, MACs."""
        return {
            "inference": {file.name: file.label for file in self.files},
            "time": {
                "profile": {"cuda": None, "cpu": self.profile_s},
                "runtime": {"all": self.all_s, "inference_only": sum(file.model_s for file in self.files)},
                "inference": {file.name: file.model_s for file in self.files},
            },
            "macs": self.macs,
        }


def submit(run: str | Path, data: str | Path, out: str | Path | None = None) -> Submission:
    """Label every image below ``data`` with the final model of ``run``, and write both files.

    ``submission.csv`` has a row for each file: name, label, probability, seconds of preprocessing and of the
    model. ``output.json`` has the layout of the competition's ``output.csv``, which was JSON. Files are named
    without their folder, as there, or with it when two have the same name.

    Args:
        run: a run's folder.
        data: a folder of images, flat or with class folders, which are not looked at.
        out: the folder to write; ``run``/submission when left out.

    Raises:
        InputError: no such run or folder, no file in it, an ``out`` that cannot be written, or over 1 %
            unreadable images.
    """
    from compress.predict import load

    run, data = Path(run), Path(data)
    macs = int(read_report(run)["final"]["macs"])
    out = Path(out or run / "submission")
    check_output(out, "--out", folder=True)
    files = _files(data)
    began = time.monotonic()
    model = load(run)
    first = next((pixels for f in files if not isinstance(pixels := _decoded(model, f), BadImageError)), None)
    if first is None:
        raise InputError(f"--data {data}: none of {len(files)} files is an image that can be read")
    cores = model.runtime.threads
    model.logits(first)
    profile = [took[0] for _, took in each([first] * _PROFILED, (model.logits,), cores)]
    steps = (lambda file: _decoded(model, file), lambda pixels: _labelled(model, pixels))
    results = each(files, steps, cores)
    all_s = time.monotonic() - began

    labelled, skipped = [], []
    for name, file, (value, (before, after)) in zip(_names(files, data), files, results, strict=True):
        if isinstance(value, BadImageError):
            skipped.append(f"{file.relative_to(data)}: {value.reason}")
        else:
            best, probability = value
            labelled.append(Labelled(name, model.labels[best], probability, before, after))
    if len(skipped) > _BAD_SHARE * len(files):
        raise InputError(
            f"--data {data}: {len(skipped)} of {len(files)} files are unreadable, more than the 1 % that may "
            f"be skipped: {few(skipped)}"
        )
    made = Submission(tuple(labelled), all_s, float(np.mean(profile)), macs, tuple(skipped))
    _write(made, out)
    return made


def _decoded(model: Predictor, file: Path) -> np.ndarray | BadImageError:
    try:
        return model.decode(str(file))
    except BadImageError as error:
        return error


def _labelled(model: Predictor, pixels: np.ndarray | BadImageError) -> tuple[int, float] | BadImageError:
    """Index and probability of the most probable class."""
    if isinstance(pixels, BadImageError):
        return pixels
    logits = model.logits(pixels)[0].astype(np.float64)
    best = int(logits.argmax())
    return best, float(1 / np.exp(logits - logits[best]).sum())


def _files(data: Path) -> list[Path]:
    if not data.is_dir():
        raise InputError(f"--data {data}: no such folder")
    if not (found := files_below(data)):
        raise InputError(f"--data {data}: no file in it")
    return found


def _names(files: Sequence[Path], data: Path) -> list[str]:
    if max(Counter(file.name for file in files).values()) == 1:
        return [file.name for file in files]
    return [file.relative_to(data).as_posix() for file in files]


def _write(made: Submission, out: Path) -> None:
    """Both files, each whole or not at all."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "label", "probability", "preprocess_s", "model_s"])
    for one in made.files:
        figures = (one.probability, one.preprocess_s, one.model_s)
        rows.writerow([one.name, one.label, *(f"{figure:.6f}" for figure in figures)])
    write_text(out / CSV, text.getvalue())
    write_text(out / JSON, json.dumps(made.layout(), indent=1) + "\n")
