"""How files become pixels where a model is deployed: as in training, or fast where the labels stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scored_runs import LABELS, coloured, recipe, score_of, shipped, steps, write
from torch import nn

from compress.data.folder import FolderData
from compress.measure import endtoend
from compress.net import Net, Preprocess
from compress.predict import load
from compress.stages.resize import Resize
from compress.train import TrainSpec

pytestmark = pytest.mark.usefixtures("in_a_hurry")


def test_decode_reference_never_ships_fast_and_fast_trains_on_it(work: Path) -> None:
    for how in ("reference", "fast", "reference-pad", "fast-pad"):
        decode, _, pad = how.partition("-")
        data = FolderData(root=Path("photos"), image_size=24, decode=decode, fit=pad or "squeeze")
        (step,) = steps(recipe(f"decode-{how}", data=data))
        assert step.artifact is not None
        assert (score_of(step).decode, score_of(step).decode_note) == (how, "")
        assert load(step.artifact).how == how
        assert list(score_of(step).predictions_test) == shipped(step.artifact)


def test_square_photos_ship_the_way_that_was_asked_for(work: Path) -> None:
    """Squeezed and padded they are the same pixels, so that one answered for the other."""

    def square(rng: np.random.Generator, target: int) -> np.ndarray:
        return coloured(rng, target)[:, :64]

    write(Path("square"), {"train": 10, "val": 6, "test": 4}, square)
    for fit, how in (("squeeze", "reference"), ("pad", "reference-pad")):
        data = FolderData(root=Path("square"), image_size=24, decode="reference", fit=fit)
        (step,) = steps(recipe(f"square-{fit}", data=data, train=TrainSpec(epochs=0)))
        assert step.artifact is not None
        assert score_of(step).decode == load(step.artifact).how == how


def test_times_are_taken_again_with_another_decoder_or_other_files(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Path("timed"), {"train": 10, "val": 6, "test": 4}, coloured)
    data = FolderData(root=Path("timed"), image_size=24, decode="reference")
    value = recipe("timed", data=data, train=TrainSpec(epochs=0))
    first = score_of(steps(value)[0])
    assert score_of(steps(value)[0]) == first
    photo = Path("timed/test/blue/000.jpg")
    photo.write_bytes(photo.read_bytes() + bytes(1000))  # the same pixels, longer to read
    second = score_of(steps(value)[0])
    assert second.end_to_end_ms != first.end_to_end_ms
    assert second.predictions_test == first.predictions_test
    monkeypatch.setattr(endtoend, "package_version", lambda package: "another")
    assert score_of(steps(value)[0]).end_to_end_ms != second.end_to_end_ms


class Rough(nn.Module):
    """Tells how noisy an image is: what a sharper or softer resize changes."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grain = (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3))
        return torch.stack([self.at - grain, grain - self.at, torch.full_like(grain, -9.0)], 1)


def test_what_trained_on_padded_photos_decodes_padded_ones_fast(work: Path) -> None:
    data = FolderData(root=Path("photos"), image_size=24, fit="pad")
    (step,) = steps(recipe("padded", data=data))
    assert step.artifact is not None
    assert "used" in score_of(step).decode_note
    assert load(step.artifact).how == (
        "fast-pad" if score_of(step).decode_note.endswith(": used") else "reference-pad"
    )
    assert list(score_of(step).predictions_test) == shipped(step.artifact)


def test_where_the_labels_differ_the_fast_path_is_not_used(work: Path) -> None:
    def noise(rng: np.random.Generator, target: int) -> np.ndarray:
        return np.clip(rng.normal(128, 40, (64, 64, 3)), 0, 255).astype(np.uint8)

    write(Path("noise"), {"train": 8, "val": 10, "test": 4}, noise)
    data = FolderData(root=Path("noise"), image_size=16)
    pixels = torch.from_numpy(data.load(0, lambda line: None).val.images).permute(0, 3, 1, 2)
    plain = Preprocess(16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    x = plain.normalise(pixels)
    middle = (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3)).median().item()
    value = recipe("noise", data=data, train=TrainSpec(epochs=0))
    (step,) = steps(value, model=Net(Rough(middle).eval(), plain, LABELS))
    assert step.artifact is not None
    assert score_of(step).decode_note.endswith(": not used")
    assert score_of(step).decode == load(step.artifact).how == "reference"
    assert score_of(step).decode_note in step.notes


def test_images_without_files_are_scored_as_they_are(work: Path) -> None:
    splits = FolderData(root=Path("photos"), image_size=24).load(0, lambda line: None)
    parts = tuple((d.images, d.targets) for d in (splits.train, splits.val, splits.test))
    value = recipe("arrays", stages=(Resize(size=16, epochs=1),), gate="always")
    base, resized = steps(value, data=parts)
    for step, size in ((base, 24), (resized, 16)):
        assert (score_of(step).decode, score_of(step).decode_note) == ("reference", "")
        assert step.artifact is not None
        assert load(step.artifact).size == size
