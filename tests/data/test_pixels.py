"""Every operation against torchvision's of the same strength."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, functional

from compress.data import pixels
from compress.data.pixels import STANDARD, WIDE, Range

FILL = list(pixels.FILL)


def name_of(operation: pixels.Operation) -> str:
    return operation.name if isinstance(operation, pixels.Move) else operation.__name__


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A smooth 48 x 64 scene that does not fill the range of levels."""
    y, x = np.mgrid[0:1:48j, 0:1:64j]
    waves = [np.sin(7 * x + 3 * y), np.cos(5 * y - 2 * x), np.sin(9 * x * y)]
    return np.stack([110 + 70 * w for w in waves], axis=2).astype(np.uint8)


def reference(image: np.ndarray, name: str, value: float) -> np.ndarray:
    x = torch.from_numpy(image).permute(2, 0, 1)
    bilinear = {"interpolation": InterpolationMode.BILINEAR, "fill": FILL}
    whole = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    out = {
        "rotate": lambda: functional.rotate(x, -value, **bilinear),
        "shift_x": lambda: functional.affine(x, **{**whole, "translate": [round(value), 0]}, **bilinear),
        "shift_y": lambda: functional.affine(x, **{**whole, "translate": [0, round(value)]}, **bilinear),
        "shear_x": lambda: functional.affine(
            x, **{**whole, "shear": [float(-np.rad2deg(np.arctan(value))), 0.0]}, **bilinear
        ),
        "shear_y": lambda: functional.affine(
            x, **{**whole, "shear": [0.0, float(-np.rad2deg(np.arctan(value)))]}, **bilinear
        ),
        "brightness": lambda: functional.adjust_brightness(x, value),
        "colour": lambda: functional.adjust_saturation(x, value),
        "contrast": lambda: functional.adjust_contrast(x, value),
        "sharpness": lambda: functional.adjust_sharpness(x, value),
        "posterize": lambda: functional.posterize(x, int(value)),
        "solarize": lambda: functional.solarize(x, value),
        "autocontrast": lambda: functional.autocontrast(x),
        "equalize": lambda: functional.equalize(x),
    }[name]()
    return out.permute(1, 2, 0).numpy()


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int))[1:-1, 1:-1]


@pytest.mark.parametrize("most", [STANDARD, WIDE], ids=["standard", "wide"])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("strength", [0.2, 0.9])
@pytest.mark.parametrize("name", ["brightness", "colour", "contrast", "sharpness"])
def test_blends(image: np.ndarray, name: str, strength: float, sign: float, most: Range) -> None:
    got = getattr(pixels, name)(image, strength, sign, most)
    want = reference(image, name, 1 + sign * strength * most.blend)
    assert difference(got, want).max() <= 2
    assert difference(got, image).max() > 2 or name == "sharpness"


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y"])
def test_turns_and_shears(image: np.ndarray, name: str, sign: float) -> None:
    got = getattr(pixels, name)(image, 0.5, sign, STANDARD)
    want = reference(image, name, sign * 0.5 * (STANDARD.rotate if name == "rotate" else STANDARD.shear))
    assert difference(got, want).mean() < 2  # the two round differently along the filled border
    assert np.median(difference(got, want)) <= 1
    assert difference(got, image).mean() > 5


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("part", [0.25, 0.2, 1.0])
@pytest.mark.parametrize(("name", "side"), [("shift_x", 64), ("shift_y", 48)])
def test_shifts_go_by_whole_pixels(image: np.ndarray, name: str, side: int, part: float, sign: float) -> None:
    most = Range(shear=0, shift=part, rotate=0, blend=0, bits=0)
    got = getattr(pixels, name)(image, 1.0, sign, most)
    assert (got == reference(image, name, sign * side * part)).all()
    assert got.flags["C_CONTIGUOUS"]


def test_posterize_solarize_and_the_ones_without_strength(image: np.ndarray) -> None:
    for strength, bits in ((0.0, 8), (0.5, 6), (1.0, 4)):
        got = pixels.posterize(image, strength, 1.0, STANDARD)
        assert (got == reference(image, "posterize", bits)).all()
    for strength, threshold in ((0.25, 192), (0.2, 205), (0.5, 128), (1.0, 0)):
        got = pixels.solarize(image, strength, 1.0, STANDARD)
        assert (got == reference(image, "solarize", threshold)).all()
    assert (
        difference(pixels.autocontrast(image, 0, 1, STANDARD), reference(image, "autocontrast", 0)).max() <= 1
    )


@pytest.mark.parametrize(("strength", "bits"), [(0.0, 8), (0.01, 7), (0.25, 7), (0.26, 6), (1.0, 4)])
def test_posterize_up_takes_a_part_of_a_bit_as_a_bit(image: np.ndarray, strength: float, bits: int) -> None:
    assert (pixels.posterize_up(image, strength, 1.0, STANDARD) == reference(image, "posterize", bits)).all()


def test_equalize_is_exact_also_where_a_channel_is_flat_or_of_two_levels(image: np.ndarray) -> None:
    odd = image.copy()
    odd[..., 0] = 77
    odd[..., 1] = np.where(odd[..., 1] > 100, 200, 10)
    for one in (image, odd, np.zeros_like(image), image[:9, :9]):
        assert (pixels.equalize(one, 0, 1, STANDARD) == reference(one, "equalize", 0)).all()


@pytest.mark.parametrize("size", [(64, 48), (40, 40)])
def test_two_moves_are_one_warp(image: np.ndarray, size: tuple[int, int]) -> None:
    first = pixels.shear_x.matrix(64, 48, 1.0, 1.0, STANDARD)
    second = pixels.rotate.matrix(64, 48, 0.6, -1.0, STANDARD)
    twice = pixels.warp(pixels.warp(image, first, (64, 48)), second, size)
    once = pixels.warp(image, pixels.then(first, second), size)
    assert np.median(difference(once, twice)) <= 1
    assert difference(once, twice).mean() < 3  # along the border of what came in
    the_other_way = pixels.warp(image, pixels.then(second, first), size)
    assert difference(once, the_other_way).mean() > 5


@pytest.mark.parametrize("operation", pixels.OPERATIONS, ids=name_of)
def test_strength_zero_changes_nothing_and_the_input_is_left_alone(
    image: np.ndarray, operation: pixels.Operation
) -> None:
    before = image.copy()
    out = operation(image, 0.0, 1.0, WIDE)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    if operation not in (pixels.autocontrast, pixels.equalize):
        assert (out == image).all()
    operation(image, 1.0, -1.0, WIDE)
    assert (image == before).all()


@pytest.mark.parametrize("operation", pixels.OPERATIONS, ids=name_of)
def test_flat_images_are_no_trouble(operation: pixels.Operation) -> None:
    flat = np.full((9, 9, 3), 124, dtype=np.uint8)
    assert operation(flat, 1.0, 1.0, WIDE).shape == flat.shape
    assert (pixels.autocontrast(flat, 0, 1, WIDE) == flat).all()
