from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from compress.data.arrays import as_image_set, splits_from
from compress.data.images import ImageSet, Splits
from compress.errors import InputError

RNG = np.random.default_rng(0)
NHWC = RNG.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
NCHW = np.ascontiguousarray(NHWC.transpose(0, 3, 1, 2))
Y = np.arange(12) % 3
PAIR = (NHWC, Y)


class Samples(Dataset[tuple[torch.Tensor, int]]):
    """One image at a time, and no IndexError at the end."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(NCHW[i % 12]), int(Y[i % 12])


def batches() -> Iterator[tuple[np.ndarray, list[int]]]:
    for i in range(0, 12, 5):
        yield NHWC[i : i + 5], Y[i : i + 5].tolist()


@pytest.mark.parametrize(
    "source",
    [
        PAIR,
        (NCHW, Y.tolist()),
        (torch.from_numpy(NCHW), torch.from_numpy(Y)),
        (NHWC / 255, Y.astype(np.int32)),
        (torch.from_numpy(NCHW).float() / 255, torch.from_numpy(Y)),
        [(NHWC[:6], Y[:6]), (NHWC[6:], Y[6:])],
        DataLoader(TensorDataset(torch.from_numpy(NCHW).float() / 255, torch.from_numpy(Y)), batch_size=5),
        Samples(),
        batches(),
        ImageSet(NHWC, Y, ("0", "1", "2")),
        ImageSet(NCHW.astype(np.float32) / 255, Y.tolist(), ["0", "1", "2"]),  # type: ignore[arg-type]
        ImageSet(torch.from_numpy(NHWC), torch.from_numpy(Y), ("0", "1", "2")),  # type: ignore[arg-type]
    ],
    ids=[
        *("nhwc", "nchw", "tensors", "float", "float32", "batches", "loader", "dataset", "generator"),
        *("set", "set of lists", "set of tensors"),
    ],
)
def test_every_form_gives_the_same_images(source: object) -> None:
    data = as_image_set(source)
    assert (data.images == NHWC).all()
    assert data.images.dtype == np.uint8
    assert (data.targets == Y).all()
    assert data.targets.dtype == np.int64
    assert data.labels == ("0", "1", "2")


def test_grey_images_become_rgb() -> None:
    for x in (NHWC[..., 0], NHWC[..., :1], NCHW[:, :1]):
        assert (as_image_set((x, Y)).images == NHWC[..., :1]).all()
    samples = [(NHWC[i, ..., 0], int(Y[i])) for i in range(12)]
    assert (as_image_set(iter(samples)).images == NHWC[..., :1]).all()


def test_bfloat16_and_labels() -> None:
    white = as_image_set(
        (torch.ones(2, 3, 4, 4, dtype=torch.bfloat16), [0, 1]), labels=["x", "y"], name="mine"
    )
    assert (white.images == 255).all()
    assert white.labels == ("x", "y")
    assert white.names == ("mine/000000", "mine/000001")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (7, "got int"),
        ([], "no images"),
        ([NHWC], "expected a pair"),
        ((NHWC.astype(np.int64), Y), "uint8, or float in \\[0, 1\\], got int64"),
        ((NHWC.astype(float), Y), "found 0 to 255"),
        ((NHWC / 255 - 0.5, Y), "before normalisation"),
        ((np.full((12, 8, 8, 3), np.nan), Y), "found nan"),
        ((NHWC[:, :6], Y), "6 x 8, they must be square"),
        ((RNG.random((12, 8, 8, 5)), Y), "C 1 or 3"),
        ((NHWC, Y[:5]), "12 images but 5 targets"),
        ((NHWC, Y - 1), "target -1 is negative"),
        ((NHWC, Y / 2), "class indices"),
        ((NHWC, np.eye(3)[Y]), "class indices"),
        ([(NHWC, Y), (NHWC[:, :4, :4], Y)], "4 px images after 8 px ones"),
    ],
)
def test_anything_else_says_what_was_found(source: object, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        as_image_set(source, name="val")
    assert str(caught.value).startswith("val")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"images": NHWC.astype(np.float32)}, "float images must be in \\[0, 1\\], found 0 to 255"),
        ({"images": NHWC.astype(np.int64)}, "images must be uint8, or float in \\[0, 1\\], got int64"),
        ({"images": NHWC[:, :6]}, "images are 6 x 8, they must be square"),
        ({"images": [NHWC[0], NHWC[1, :4, :4]]}, "expected one array, got a list of unlike ones"),
        ({"images": NHWC[:0], "targets": Y[:0]}, "no images in it"),
        ({"targets": Y[:5]}, "12 images but 5 targets"),
        ({"targets": Y / 2}, "targets must be class indices"),
        ({"targets": Y - 1}, "target -1 is negative"),
        ({"labels": ["a", "b"]}, "target 2 is beyond the 2 classes \\('a', 'b'\\)"),
        ({"names": ("a.jpg",)}, "12 images but 1 names: give one an image, or none"),
        ({"groups": Y[:5]}, "groups must be integers, one an image, got int64 of shape \\(5,\\)"),
        ({"groups": Y / 2}, "groups must be integers, one an image, got float64"),
    ],
)
def test_an_image_set_of_ones_own_is_checked_as_arrays_are(changed: dict[str, Any], line: str) -> None:
    wrong = replace(ImageSet(NHWC, Y, ("a", "b", "c")), **changed)
    with pytest.raises(InputError, match=f"^val: {line}"):
        as_image_set(wrong, name="val")


def test_an_image_set_keeps_what_is_right_in_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", NHWC)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    names = [f"{i}.jpg" for i in range(12)]
    data = as_image_set(ImageSet(mapped, Y, ["a", "b", "c"], names, (Y + 7).tolist()))  # type: ignore[arg-type]
    assert data.images is mapped  # not read into memory
    assert data.labels == ("a", "b", "c")
    assert data.names == tuple(names)
    assert data.groups is not None
    assert (data.groups == Y + 7).all()
    with pytest.raises(InputError, match="its classes are \\('a', 'b', 'c'\\), expected \\('x', 'y', 'z'\\)"):
        as_image_set(data, labels=["x", "y", "z"])
    with_lists = ImageSet(NHWC, Y, ["a", "b", "c"])  # type: ignore[arg-type]
    x = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    splits = splits_from((x, np.arange(60) % 3), with_lists, with_lists)
    assert splits.labels == splits.val.labels == ("a", "b", "c")


def test_target_beyond_the_labels() -> None:
    with pytest.raises(InputError, match="target 2 is beyond the 2 classes"):
        as_image_set(PAIR, labels=["x", "y"])


def test_splits_take_tune_out_of_train() -> None:
    x = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    y = np.arange(60) % 3
    splits = splits_from((x, y), PAIR, (NCHW, Y), seed=3, labels=["a", "b", "c"])
    assert len(splits.tune) == 6
    assert sorted(splits.train.names + splits.tune.names) == [f"train/{i:06d}" for i in range(60)]
    assert splits.labels == ("a", "b", "c")
    again = splits_from((x.copy(), y), PAIR, PAIR, seed=3, labels=["a", "b", "c"])
    assert again.fingerprint == splits.fingerprint
    x[0, 0, 0, 0] ^= 1
    assert splits_from((x, y), PAIR, PAIR, seed=3, labels=["a", "b", "c"]).fingerprint != splits.fingerprint


def test_a_loader_that_shuffles_gives_the_same_splits() -> None:
    x = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    x[30] = x[0]  # the same photo twice
    pixels, y = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.arange(60) % 3

    def splits(seed: int) -> Splits:
        order = torch.Generator().manual_seed(seed)
        loader = DataLoader(TensorDataset(pixels, y), batch_size=7, shuffle=True, generator=order)
        return splits_from(loader, loader, loader, seed=3)

    one, two = splits(1), splits(2)
    assert one.test.names != two.test.names  # those are of the place in the loader
    assert one.fingerprint == two.fingerprint
    for name in ("train", "tune", "val", "test"):
        a, b = getattr(one, name), getattr(two, name)
        assert (a.images == b.images).all()
        assert (a.targets == b.targets).all()
        assert (np.diff(a.targets) >= 0).all()
    assert sorted(i.tobytes() for i in one.val.images) == sorted(i.tobytes() for i in x)
    shuffled = splits_from((x, y.numpy()), (x[::-1], y.numpy()[::-1]), (x, y.numpy()), seed=3)
    assert shuffled.fingerprint == one.fingerprint


def test_rows_keep_their_names_and_groups_when_they_are_sorted() -> None:
    x = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    names = tuple(f"{i}.png" for i in range(60))
    data = ImageSet(x, np.arange(60) % 3, ("0", "1", "2"), names, np.arange(60) // 2)
    splits = splits_from(data, data, data)
    for part in (splits.train, splits.tune, splits.val):
        rows = [int(name.removesuffix(".png")) for name in part.names]
        assert (part.images == x[rows]).all()
        assert part.targets.tolist() == [row % 3 for row in rows]
        assert part.groups is not None
        assert part.groups.tolist() == [row // 2 for row in rows]


def test_splits_keep_the_groups_of_train() -> None:
    x = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    train = ImageSet(x, np.arange(60) // 20, ("0", "1", "2"), groups=np.arange(60) // 4)
    splits = splits_from(train, PAIR, PAIR, seed=0)
    assert not set(splits.train.groups.tolist()) & set(splits.tune.groups.tolist())


def test_classes_of_the_three_must_agree() -> None:
    fewer = (NHWC, Y % 2)
    assert splits_from(PAIR, fewer, fewer).val.labels == ("0", "1", "2")
    with pytest.raises(InputError, match="test has classes that train lacks: \\['2'\\]"):
        splits_from(fewer, fewer, PAIR)
    with pytest.raises(InputError, match="differ in their classes"):
        splits_from(ImageSet(NHWC, Y, ("a", "b", "c")), ImageSet(NHWC, Y, ("a", "b", "d")), PAIR)
    with pytest.raises(InputError, match="differ in size: train 8 x 8, val 4 x 4"):
        splits_from(PAIR, (NHWC[:, :4, :4], Y), PAIR)
    with pytest.raises(InputError, match="too few"):
        splits_from((NHWC[:3], Y[:3]), PAIR, PAIR)
