import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.data.augment import FlipCrop, NoAugment, RandAugment
from compress.data.images import ImageSet
from compress.data.loader import Batches

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)
IMAGES[:, 0, 0, 0] = np.arange(50)  # tells which image it is
DATA = ImageSet(IMAGES, np.arange(50) % 7, tuple("abcdefg"))


def order(batches: Batches) -> list[int]:
    return [int(i) for x, _ in batches for i in x[:, 0, 0, 0]]


def test_without_shuffle_everything_in_order() -> None:
    got = list(Batches(DATA, 16))
    assert [len(x) for x, _ in got] == [16, 16, 16, 2]
    x, y = torch.cat([x for x, _ in got]), torch.cat([y for _, y in got])
    assert x.dtype == torch.uint8
    assert y.dtype == torch.int64
    assert (x.permute(0, 2, 3, 1).numpy() == IMAGES).all()
    assert (y.numpy() == DATA.targets).all()
    assert all(x.is_contiguous() for x, _ in got)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = order(Batches(DATA, 16, shuffle=True, seed=1, epoch=2))
    assert sorted(first) == list(range(50))
    assert first == order(Batches(DATA, 7, shuffle=True, seed=1, epoch=2))
    assert first != order(Batches(DATA, 16, shuffle=True, seed=1, epoch=3))
    assert first != order(Batches(DATA, 16, shuffle=True, seed=2, epoch=2))


@pytest.mark.parametrize("prefetch", [0, 1, 2, 9])
def test_prefetching_changes_nothing(prefetch: int) -> None:
    settings = {"augment": RandAugment(), "shuffle": True, "seed": 3, "epoch": 1}
    plain, ahead = Batches(DATA, 16, **settings), Batches(DATA, 16, **settings, prefetch=prefetch)
    for _ in range(2):  # and it can be gone through again
        for (x, y), (x2, y2) in zip(plain, ahead, strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)


def test_augmentation_differs_by_epoch_and_by_batch() -> None:
    same = ImageSet(np.repeat(IMAGES[:1], 32, 0), np.zeros(32, dtype=np.int64), ("a",))
    first, second = (x for x, _ in Batches(same, 16, augment=FlipCrop()))
    assert not torch.equal(first, second)
    other, _ = next(iter(Batches(same, 16, augment=FlipCrop(), epoch=1)))
    assert not torch.equal(first, other)


def test_drop_last_keeps_the_only_batch() -> None:
    assert [len(x) for x, _ in Batches(DATA, 16, drop_last=True)] == [16, 16, 16]
    assert len(Batches(DATA, 16, drop_last=True)) == 3
    assert len(Batches(DATA, 16)) == 4
    assert [len(x) for x, _ in Batches(DATA, 64, drop_last=True)] == [50]
    assert len(Batches(DATA, 25)) == len(Batches(DATA, 25, drop_last=True)) == 2


def test_batches_can_be_written_to_without_harm(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    mapped = ImageSet(np.load(tmp_path / "x.npy", mmap_mode="r"), DATA.targets, DATA.labels)
    for data in (DATA, mapped):
        before = np.array(data.images)
        for x, y in Batches(data, 16, augment=NoAugment()):
            x.zero_()
            y.zero_()
        assert (data.images == before).all()
        assert data.targets.any()


def test_stopping_half_way_leaves_no_thread() -> None:
    for _ in Batches(DATA, 5, prefetch=2):
        break
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_while_making_a_batch_reaches_the_reader(prefetch: int) -> None:
    class Torn(FlipCrop):
        def __call__(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
            raise RuntimeError("torn")

    with pytest.raises(RuntimeError, match="torn"):
        list(Batches(DATA, 16, augment=Torn(), prefetch=prefetch))


def test_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        Batches(DATA, 0)
