from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from compress.data import pixels
from compress.data.augment import (
    Augment,
    AugmentSpec,
    Draw,
    FlipCrop,
    NoAugment,
    RandAugment,
    TrivialAugment,
    changed,
)
from compress.data.window import crop_on_device, fit, window

CHANGING = [FlipCrop(), RandAugment(), TrivialAugment(), FlipCrop(pad=0.125, min_area=1, max_ratio=1)]
kinds = pytest.mark.parametrize("augment", CHANGING, ids=["flip_crop", "randaugment", "trivial", "shift"])


def scene(side: int = 32) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    return np.stack([200 * x + 20, 180 * y + 30, 100 + 80 * np.sin(6 * x)], axis=2).astype(np.uint8)


def batch(count: int = 64, side: int = 32) -> torch.Tensor:
    """The same image ``count`` times."""
    return torch.from_numpy(scene(side)).permute(2, 0, 1).expand(count, 3, side, side).contiguous()


@kinds
def test_every_image_of_a_batch_draws_its_own(augment: Augment) -> None:
    out = augment(batch(), np.random.default_rng(0))
    different = {image.numpy().tobytes() for image in out}
    assert len(different) > 50


@kinds
def test_same_generator_same_images_and_input_kept(augment: Augment) -> None:
    images = batch()
    first, again, other = (augment(images, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, batch())


def test_none_changes_nothing() -> None:
    images = batch(3)
    assert NoAugment()(images, np.random.default_rng(0)) is images


@pytest.mark.parametrize("augment", [RandAugment(n=3), TrivialAugment()], ids=["rand", "trivial"])
def test_operations_and_strengths_differ_from_image_to_image(augment: RandAugment | TrivialAugment) -> None:
    draws = [d for image in augment._draws(np.random.default_rng(0), 2000) for d in image]
    counts = Counter(operation for operation, _, _ in draws)
    assert set(counts) == set(pixels.OPERATIONS)
    assert max(counts.values()) < 1.4 * min(counts.values())
    strengths = np.array([strength for _, strength, _ in draws])
    assert len(np.unique(strengths)) > 0.99 * len(strengths)
    assert strengths.min() >= 0
    assert strengths.max() <= 1
    mean = 9 / 30 if augment.kind == "randaugment" else 0.5
    assert strengths.mean() == pytest.approx(mean, abs=0.02)
    assert {sign for _, _, sign in draws} == {-1.0, 1.0}


def test_flip_alone_mirrors_about_half_and_leaves_the_rest() -> None:
    images = batch(400, 8)
    out = FlipCrop(min_area=1, max_ratio=1)(images, np.random.default_rng(0))
    same = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 160 < int(mirrored.sum()) < 240


def test_crops_are_as_large_as_asked_and_lie_everywhere() -> None:
    boxes = FlipCrop(min_area=0.3, max_ratio=1.5)._boxes(np.random.default_rng(0), 5000, 64, 64)
    top, left, height, width = boxes.T
    area = height * width / 64**2
    assert area.min() > 0.27
    assert area.max() == 1
    assert area.mean() == pytest.approx(0.64, abs=0.03)
    assert (height / width).max() < 1.6
    assert (width / height).max() < 1.6
    for start, size in ((top, height), (left, width)):
        assert start.min() == 0
        assert (start + size).max() == 64
        assert (start + size <= 64).all()
    top, left, height, width = (
        FlipCrop(pad=0.125, min_area=1, max_ratio=1)._boxes(np.random.default_rng(0), 2000, 64, 64).T
    )
    assert (height == 64).all()
    assert set(top.tolist()) == set(left.tolist()) == set(range(-8, 9))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [(0, 0, 32, 32), (3, 5, 20, 26), (-4, -4, 32, 32), (4, -3, 30, 34)])
def test_the_two_ways_to_crop_agree(box: tuple[int, int, int, int], flip: bool) -> None:
    one = fit(window(scene(), np.array(box)), (32, 32), flip)
    other = crop_on_device(batch(1), np.array([box]), np.array([flip]))[0].permute(1, 2, 0).numpy()
    assert np.abs(one.astype(int) - other.astype(int))[1:-1, 1:-1].max() <= 2
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 8  # the outermost pixels see beyond the crop


def one_by_one(
    part: np.ndarray, size: tuple[int, int], flip: bool, draws: list[Draw], most: pixels.Range
) -> np.ndarray:
    """``changed``, each step by itself."""
    image = fit(part, size, flip)
    for operation, strength, sign in draws:
        image = operation(image, strength, sign, most)
    return image


@pytest.mark.parametrize("most", [pixels.STANDARD, pixels.WIDE, pixels.COMPETITION])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [(0, 0, 48, 48), (3, 5, 30, 26), (-4, -4, 48, 48)])
def test_moves_in_one_warp_are_the_same_picture(
    box: tuple[int, int, int, int], flip: bool, most: pixels.Range
) -> None:
    part, rng = window(scene(48), np.array(box)), np.random.default_rng(0)
    for count in (0, 1, 2, 3, 4):
        for _ in range(12):
            which = rng.integers(len(pixels.OPERATIONS), size=count).tolist()
            draws = [(pixels.OPERATIONS[w], float(rng.random()), 1.0 - 2 * (w % 2)) for w in which]
            got, want = (f(part, (48, 48), flip, draws, most) for f in (changed, one_by_one))
            difference = np.abs(got.astype(int) - want.astype(int))[2:-2, 2:-2]
            if not any(isinstance(operation, pixels.Move) for operation, _, _ in draws):
                assert (got == want).all()
            elif all(operation not in (pixels.solarize, pixels.posterize) for operation, _, _ in draws):
                assert np.median(difference) <= 2  # those two make a jump of a step between two levels
                assert difference.mean() < 12  # all of it along the border of what came in
    assert got.dtype == np.uint8


def test_crop_mirrors_beyond_the_edge() -> None:
    image = scene()
    shifted = window(image, np.array([-2, 0, 32, 32]))
    assert (shifted[2:] == image[:-2]).all()
    assert (shifted[:2] == image[1::-1]).all()


def test_erase_blanks_one_box_of_the_stated_share_of_images() -> None:
    images = torch.zeros(400, 3, 32, 32, dtype=torch.uint8)
    out = FlipCrop(erase=0.25)(images, np.random.default_rng(0))
    blank = (out == torch.tensor(pixels.FILL, dtype=torch.uint8).view(1, 3, 1, 1)).all(1)
    assert (blank | (out == 0).all(1)).all()
    shares = blank.flatten(1).float().mean(1)
    assert 70 < int((shares > 0).sum()) < 130
    assert float(shares.max()) < 0.25
    assert float(shares[shares > 0].min()) > 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_flip_crop_works_where_the_batch_lies() -> None:
    images = batch().cuda()
    out = FlipCrop(erase=0.5)(images, np.random.default_rng(0))
    assert out.is_cuda
    on_cpu = FlipCrop(erase=0.5)(images.cpu(), np.random.default_rng(0))
    assert (out.cpu().int() - on_cpu.int()).abs()[:, :, 1:-1, 1:-1].max() <= 3


def test_specs_read_from_yaml_by_kind() -> None:
    read = TypeAdapter(AugmentSpec).validate_python
    assert read({"kind": "none"}) == NoAugment()
    assert read({"kind": "flip_crop", "min_area": 0.35}) == FlipCrop(min_area=0.35)
    assert read({"kind": "randaugment", "n": 2}) == RandAugment()
    assert read({"kind": "trivial", "erase": 0.2}) == TrivialAugment(erase=0.2)
    for augment in (NoAugment(), *CHANGING):
        assert read(augment.canonical()) == augment
    for wrong in ({"kind": "auto"}, {"kind": "none", "n": 1}, {"kind": "randaugment", "magnitude": 31}):
        with pytest.raises(ValidationError):
            read(wrong)
