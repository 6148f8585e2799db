import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.data.augment import FlipCrop, NoAugment, RandAugment
from compress.data.images import ImageSet
from compress.data.loader import Batches
from compress.errors import CompressError, InputError

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
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x, _ in got)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = order(Batches(DATA, 16, shuffle=True, seed=1, epoch=2))
    assert sorted(first) == list(range(50))
    assert first == order(Batches(DATA, 7, shuffle=True, seed=1, epoch=2))
    assert first != order(Batches(DATA, 16, shuffle=True, seed=1, epoch=3))
    assert first != order(Batches(DATA, 16, shuffle=True, seed=2, epoch=2))


@pytest.mark.parametrize(("prefetch", "threads"), [(0, 1), (1, 1), (2, 1), (2, 2), (9, 1), (9, 4), (3, 8)])
def test_threads_and_prefetching_change_nothing(prefetch: int, threads: int) -> None:
    settings = {"augment": RandAugment(), "shuffle": True, "seed": 3, "epoch": 1}
    plain = Batches(DATA, 7, **settings)
    ahead = Batches(DATA, 7, **settings, prefetch=prefetch, threads=threads)
    for _ in range(2):  # and it can be gone through again
        for (x, y), (x2, y2) in zip(plain, ahead, strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)


def test_batches_are_made_by_several_threads_and_come_in_order() -> None:
    names, slow = set(), threading.Barrier(3, timeout=60)

    class Together(FlipCrop):
        def __call__(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
            slow.wait()  # passes only when three batches are being made at once
            names.add(threading.current_thread().name)
            return images

    got = order(Batches(DATA, 6, augment=Together(), prefetch=3, threads=3))
    assert got == list(range(50))
    assert len(names) == 3


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


class Torn(FlipCrop):
    def __call__(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        raise ValueError("torn")


class Refused(FlipCrop):
    def __call__(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        raise InputError("train/a/1.jpg: gone")


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_while_making_a_batch_is_one_line_that_names_it(prefetch: int) -> None:
    with pytest.raises(CompressError) as caught:
        list(Batches(DATA, 16, augment=Torn(), prefetch=prefetch, epoch=4))
    assert str(caught.value) == "batch 1 of epoch 5 cannot be made: ValueError: torn"
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(InputError, match=r"^train/a/1\.jpg: gone$"):
        list(Batches(DATA, 16, augment=Refused(), prefetch=prefetch))
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


INTERRUPTED = """
import os, signal, threading
import numpy as np
from compress.data.augment import FlipCrop
from compress.data.images import ImageSet
from compress.data.loader import Batches
images = np.zeros((4000, 16, 16, 3), np.uint8)
data = ImageSet(images, np.zeros(4000, np.int64), ("a",))
try:
    for i, _ in enumerate(Batches(data, 4, augment=FlipCrop(), prefetch=8, threads=3)):
        if i == 5:
            os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print(i, [t.name for t in threading.enumerate()])
"""


def test_ctrl_c_ends_at_once_and_leaves_no_thread() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    count, names = done.stdout.split(maxsplit=1)
    assert int(count) < 20
    assert names.strip() == "['MainThread']"


def test_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        Batches(DATA, 0)
    with pytest.raises(ValueError, match="threads"):
        Batches(DATA, 4, threads=0)
