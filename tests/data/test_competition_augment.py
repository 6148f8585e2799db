"""The competition's policy against Pillow, whose calls it was written with."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from pydantic import TypeAdapter, ValidationError

from compress.data import pixels
from compress.data.augment import AugmentSpec, CompetitionAugment
from compress.data.pixels import COMPETITION, COMPETITION_OPERATIONS

GREY = (128, 128, 128)
ALONE = {"flip": 0.0, "cutout": 0.0}


def scene(side: int = 64) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    waves = [np.sin(7 * x + 3 * y), np.cos(5 * y - 2 * x), np.sin(9 * x * y)]
    return np.stack([110 + 70 * w for w in waves], axis=2).astype(np.uint8)


def batch(count: int, side: int = 64) -> torch.Tensor:
    return torch.from_numpy(scene(side)).permute(2, 0, 1).expand(count, 3, side, side)


def by_pillow(name: str, level: int, n_level: int, sign: float) -> np.ndarray:
    """The operation as the competition's values and Pillow's bilinear filter give it."""
    image, part = Image.fromarray(scene()), level / n_level
    bilinear = {"resample": Image.Resampling.BILINEAR, "fillcolor": GREY}

    def affine(*matrix: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix, **bilinear)

    shift = round(part * 150 / 331 * 64) * -sign
    done = {
        "identity": lambda: image,
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "rotate": lambda: image.rotate(30 * part, **bilinear),
        "solarize": lambda: ImageOps.solarize(image, 256 - 256 * part),
        "posterize_up": lambda: ImageOps.posterize(image, int(8 - 4 * part)),
        "colour": lambda: ImageEnhance.Color(image).enhance(1 + sign * 0.9 * part),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(1 + sign * 0.9 * part),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(1 + sign * 0.9 * part),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(1 + sign * 0.9 * part),
        "shear_x": lambda: affine(1, -sign * 0.3 * part, 0, 0, 1, 0),
        "shear_y": lambda: affine(1, 0, 0, -sign * 0.3 * part, 1, 0),
        "shift_x": lambda: affine(1, 0, shift, 0, 1, 0),
        "shift_y": lambda: affine(1, 0, 0, 0, 1, shift),
    }[name]()
    return np.array(done)


def name_of(operation: pixels.Operation) -> str:
    return operation.name if isinstance(operation, pixels.Move) else operation.__name__


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("level", [3, 14, 31])
@pytest.mark.parametrize("operation", COMPETITION_OPERATIONS, ids=name_of)
def test_operations_are_pillows(operation: pixels.Operation, level: int, sign: float) -> None:
    name = name_of(operation)
    sign = -1.0 if name == "rotate" else sign  # the competition turns one way only
    got = operation(scene(), level / 31, sign, COMPETITION)
    want = by_pillow(name, level, 31, sign)
    difference = np.abs(got.astype(int) - want.astype(int))
    if name in ("rotate", "shear_x", "shear_y"):  # Pillow leaves out what lies half a pixel beyond the edge
        assert np.median(difference) <= 1
        assert (difference > 3).mean() < 0.06
    elif name in ("equalize", "solarize", "posterize_up", "shift_x", "shift_y", "identity"):
        assert difference.max() == 0
    else:
        assert difference[1:-1, 1:-1].max() <= 1  # Pillow sharpens all but the outermost pixels


def test_the_fourteen_operations() -> None:
    names = [name_of(operation) for operation in COMPETITION_OPERATIONS]
    assert len(set(names)) == 14
    assert [n for n in names if n not in [name_of(o) for o in pixels.OPERATIONS]] == ["posterize_up"]


@pytest.mark.parametrize("n_select", [1, 2, 5, 14])
def test_every_image_draws_different_operations_of_its_own(n_select: int) -> None:
    draws = CompetitionAugment(n_select=n_select)._draws(np.random.default_rng(0), 3000)
    assert all(len({operation for operation, _, _ in image}) == n_select for image in draws)
    counts = Counter(operation for image in draws for operation, _, _ in image)
    expected = 3000 * n_select / 14
    assert all(abs(n - expected) < 5 * expected**0.5 for n in counts.values())
    firsts = Counter(image[0][0] for image in draws)  # the order is random too
    assert all(abs(n - 3000 / 14) < 5 * (3000 / 14) ** 0.5 for n in firsts.values())
    assert {strength for image in draws for _, strength, _ in image} == {14 / 31}
    signs = [sign for image in draws for operation, _, sign in image if operation is not pixels.rotate]
    assert abs(np.mean(signs)) < 5 / len(signs) ** 0.5
    assert {sign for image in draws for op, _, sign in image if op is pixels.rotate} == {-1.0}


@pytest.mark.parametrize("level", [None, 0])
def test_without_a_level_every_operation_draws_one(level: int | None) -> None:
    draws = CompetitionAugment(level=level, n_level=10)._draws(np.random.default_rng(0), 4000)
    levels = np.array([[strength * 10 for _, strength, _ in image] for image in draws])
    assert np.abs(levels - levels.round()).max() < 1e-9
    counts = np.bincount(levels.round().astype(int).ravel())
    assert len(counts) == 11
    assert np.abs(counts - 8000 / 11).max() < 5 * (8000 / 11) ** 0.5
    assert np.abs(np.corrcoef(levels.T)[0, 1]) < 0.06


def test_a_batch_of_one_image_becomes_many() -> None:
    out = CompetitionAugment()(batch(300), np.random.default_rng(0))
    assert out.shape == (300, 3, 64, 64)
    assert out.dtype == torch.uint8
    assert len({image.numpy().tobytes() for image in out}) > 250
    again = CompetitionAugment()(batch(300), np.random.default_rng(0))
    assert torch.equal(out, again)
    assert torch.equal(batch(300), batch(300))


def test_the_mirror_comes_after_the_operations() -> None:
    """All turn the same way, so what is mirrored turns the other way: one of two pictures."""
    turned = CompetitionAugment(n_select=14, flip=0.0, cutout=0.0, level=1, n_level=100)
    never = turned(batch(40), np.random.default_rng(3))
    always = turned.model_copy(update={"flip": 1.0})(batch(40), np.random.default_rng(3))
    assert torch.equal(always, never.flip(3))
    half = turned.model_copy(update={"flip": 0.5})(batch(40), np.random.default_rng(3))
    mirrored = (half == always).flatten(1).all(1)
    assert (mirrored | (half == never).flatten(1).all(1)).all()
    assert 8 < int(mirrored.sum()) < 32


def test_cutout_blanks_a_square_cut_at_the_edges() -> None:
    images = torch.zeros(2000, 3, 64, 64, dtype=torch.uint8)
    # level 1 of 10^6: every operation leaves a black image black
    out = CompetitionAugment(level=1, n_level=1_000_000)(images, np.random.default_rng(0))
    grey = (out == 128).all(1)
    assert (grey | (out == 0).all(1)).all()
    share = grey.flatten(1).any(1).float().mean()
    assert float(share) == pytest.approx(0.8, abs=0.03)
    rows, columns = (grey.any(2).sum(1), grey.any(1).sum(1))
    assert (rows * columns == grey.flatten(1).sum(1)).all()  # a rectangle
    assert int(rows.max()) == int(columns.max()) == 2 * (int(0.45 * 64) // 2) + 1
    assert int(rows[rows > 0].min()) <= 16  # centres lie at the edge too
    middle = grey[:, 32, 32].float().mean()
    assert float(middle) == pytest.approx(0.8 * (29 / 65) ** 2, abs=0.03)


def test_read_from_yaml_as_the_original_files_have_it() -> None:
    read = TypeAdapter(AugmentSpec).validate_python
    assert read({"kind": "competition"}) == CompetitionAugment(n_select=2, level=14, n_level=31)
    assert read({"kind": "competition", "level": None}).level is None
    for wrong in ({"n_select": 15}, {"n_select": -1}, {"level": 32}, {"level": -1}, {"cutout": 1.5}):
        with pytest.raises(ValidationError):
            read({"kind": "competition", **wrong})
