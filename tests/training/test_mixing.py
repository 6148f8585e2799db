"""cutmix, mixup and which batches they change; and what a training says of its waiting."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tinynet import DIGITS, digits, tiny_net
from torch.nn import functional as F

from compress.data.augment import FlipCrop
from compress.data.loader import Batches, Timed
from compress.train import TrainSpec, fit
from compress.training.batch import cutmix, mix, mixup
from compress.training.loop import waiting


def numbered(count: int = 64, height: int = 20, width: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that are all their own number, and one-hot targets likewise."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, height, width)
    return images.contiguous(memory_format=torch.channels_last), torch.eye(count)


def slow_cutmix(images: np.ndarray, alpha: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel; the images, and the share of each image's own pixels."""
    count, _, height, width = images.shape
    shares = rng.beta(alpha, alpha, count)
    centres = rng.integers([height, width], size=(count, 2))
    other = rng.permutation(count)
    out, own = images.copy(), np.zeros(count)
    for i in range(count):
        half = np.sqrt(1 - shares[i]) * height / 2, np.sqrt(1 - shares[i]) * width / 2
        ends = [
            (round(centre + 0.5 - reach), round(centre + 0.5 + reach))
            for centre, reach in zip(centres[i].tolist(), half, strict=True)
        ]
        for y in range(height):
            for x in range(width):
                if ends[0][0] <= y < ends[0][1] and ends[1][0] <= x < ends[1][1]:
                    out[i, :, y, x] = images[other[i], :, y, x]
                else:
                    own[i] += 1 / (height * width)
    return out, own


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_cutmix_pastes_boxes_and_mixes_targets_by_their_area(alpha: float) -> None:
    images, soft = numbered()
    out, targets = cutmix(images, soft, alpha, np.random.default_rng(1))
    want, own = slow_cutmix(images.numpy(), alpha, np.random.default_rng(1))
    assert (out.numpy() == want).all()
    assert out.dtype == torch.uint8
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    # the targets are the shares of the pixels, whatever the draw
    for i in range(len(images)):
        shares = np.bincount(out[i, 0].numpy().ravel(), minlength=64) / (20 * 30)
        np.testing.assert_allclose(targets[i], shares, atol=1e-6)
    kept = targets.diagonal().numpy()
    np.testing.assert_allclose(kept[kept < 1], own[kept < 1], atol=1e-6)  # at 1: its own partner, or no box
    assert (kept < 1).sum() > 40
    assert torch.equal(images, numbered()[0])  # the batch that came in is left alone


def test_cutmix_draws_for_every_image() -> None:
    images, soft = numbered()
    _, targets = cutmix(images, soft, 1.0, np.random.default_rng(0))
    shares = targets.max(1).values
    assert len(shares.unique()) > 40
    again = cutmix(images, soft, 1.0, np.random.default_rng(0))[1]
    assert torch.equal(again, targets)


def changes(part: float, mixup_alpha: float, cutmix_alpha: float, times: int = 400) -> dict[str, int]:
    images, soft = numbered(8, 8, 8)
    rng = np.random.default_rng(0)
    found = {"none": 0, "mixup": 0, "cutmix": 0}
    for _ in range(times):
        out, _ = mix(images, soft, rng, mixup_alpha, cutmix_alpha, part)
        kind = "none" if out is images else "mixup" if out.dtype == torch.float32 else "cutmix"
        found[kind] += 1
    return found


def test_the_stated_part_of_the_batches_is_mixed_and_each_way_takes_half() -> None:
    assert changes(1.0, 0.0, 0.0) == {"none": 400, "mixup": 0, "cutmix": 0}
    assert changes(1.0, 0.3, 0.0) == {"none": 0, "mixup": 400, "cutmix": 0}
    assert changes(1.0, 0.0, 0.3) == {"none": 0, "mixup": 0, "cutmix": 400}
    assert changes(0.0, 0.3, 0.3)["none"] == 400
    both = changes(0.5, 0.3, 0.3)
    assert 160 < both["none"] < 240
    assert 60 < both["mixup"] < 140
    assert 60 < both["cutmix"] < 140


def test_mixup_blends_images_and_targets_alike() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2) * 80
    soft = F.one_hot(torch.arange(4), 4).float()
    mixed, targets = mixup(images, soft, 1.0, np.random.default_rng(3))
    assert not torch.equal(mixed, images.float())
    assert targets.sum(1).allclose(torch.ones(4))
    assert mixed[:, 0, 0, 0].allclose(targets @ (torch.arange(4).float() * 80), atol=1e-3)


def test_mixup_alone_draws_what_it_always_drew() -> None:
    images, soft = numbered()
    one = mix(images, soft, np.random.default_rng(5), 0.4, 0.0, 1.0)
    other = mixup(images, soft, 0.4, np.random.default_rng(5))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def train(**changes: Any) -> list[float]:
    settings = TrainSpec.model_validate(
        {"epochs": 3, "device": "cpu", "augment": {"kind": "none"}, **changes}
    )
    return [
        record["loss"]
        for record in fit(
            tiny_net().module, digits(0, 100), settings, preprocess=DIGITS, log=lambda line: None
        ).history
    ]


def test_training_with_cutmix_learns_and_is_the_same_again() -> None:
    plain, mixed, again = train(), train(cutmix=1.0), train(cutmix=1.0)
    assert mixed == again
    assert mixed != plain
    assert mixed[-1] < mixed[0]
    assert train(mixup=0.4, cutmix=1.0, mix_prob=0.5) not in (mixed, train(mixup=0.4))


def test_cutmix_that_is_off_leaves_no_trace_in_the_digest() -> None:
    old = {"epochs": 3, "mixup": 0.2}
    content = TrainSpec(**old).canonical()
    assert "cutmix" not in content
    assert "mix_prob" not in content
    assert TrainSpec(**content) == TrainSpec(**old)
    on = TrainSpec(cutmix=0.5, mix_prob=0.25)
    assert (on.canonical()["cutmix"], on.canonical()["mix_prob"]) == (0.5, 0.25)
    assert TrainSpec(**on.canonical()) == on


def test_a_mix_prob_without_anything_to_mix_is_refused() -> None:
    with pytest.raises(ValidationError, match="both are off"):
        TrainSpec(mix_prob=0.5)


class Slow(FlipCrop):
    def __call__(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        time.sleep(0.05)
        return images


def test_waiting_for_images_is_counted() -> None:
    batches = Timed(Batches(digits(0, 40), 10, augment=Slow()))
    for _ in batches:
        time.sleep(0.01)
    assert 0.19 < batches.waited < 2
    spec = TrainSpec.model_construct(**{**TrainSpec(epochs=1, device="cpu").__dict__, "augment": Slow()})
    result = fit(tiny_net().module, digits(0, 64), spec, preprocess=DIGITS, log=lambda line: None)
    assert 0.1 <= result.history[0]["waited"] <= result.history[0]["seconds"]


def test_a_long_wait_is_told() -> None:
    assert waiting([{"seconds": 400.0, "waited": 15.0}, {"seconds": 10.0}]) is None  # an older checkpoint's
    assert waiting([{"seconds": 10.0, "waited": 5.0}]) is None  # not worth a line
    assert waiting([]) is None
    line = waiting([{"seconds": 50.0, "waited": 10.0}, {"seconds": 50.0, "waited": 15.0}])
    assert line == "25% of the training time (25.0 s) was waiting for images"
