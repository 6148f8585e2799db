"""Batches of an ImageSet, in an order and with changes that only the seed and the epoch decide."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from compress.data.augment import Augment, NoAugment
from compress.data.images import ImageSet
from compress.errors import CompressError

if TYPE_CHECKING:
    from torch import Tensor

_ORDER, _CHANGE = 0, 1  # separate streams of random numbers


class Batches:
    """Iterable over (uint8 N x 3 x H x W, int64 N); going through it again gives the same batches again.

    On a CPU a batch lies in memory as N x H x W x 3 (torch's channels-last), as images are kept.

    Args:
        data: the images, in memory or memory-mapped.
        batch_size: images a batch; the last batch may be smaller.
        augment: changes each batch; None leaves it as it is.
        shuffle: draw a new order for every (seed, epoch).
        seed, epoch: of the order and the augmentation.
        drop_last: leave out a smaller last batch, unless it is the only one.
        prefetch: batches to make ahead in background threads. 0 by default: on a CPU that trains, a thread
            beside OpenMP's costs more than it hides; worth 2 or so when the training runs on a GPU.
        threads: how many of them; the batches are the same for any number.
        device: where batches go; kinds of augmentation that can work there do so.

    Raises:
        CompressError: while iterating: a batch cannot be made; the line says which and why.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        *,
        augment: Augment | None = None,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        drop_last: bool = False,
        prefetch: int = 0,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if threads < 1:
            raise ValueError(f"threads must be 1 or more, got {threads}")
        self.data, self.batch_size, self.drop_last = data, batch_size, drop_last
        self.augment = None if isinstance(augment, NoAugment) else augment
        self.shuffle, self.seed, self.epoch = shuffle, seed, epoch
        self.prefetch, self.threads, self.device = prefetch, threads, device

    def __len__(self) -> int:
        full, rest = divmod(len(self.data), self.batch_size)
        return full if self.drop_last and full else full + bool(rest)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.arange(len(self.data), dtype=np.int64)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch, _ORDER]).permutation(order)
        if not self.prefetch:
            for i in range(len(self)):
                yield self._batch(order, i)
            return
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="batches")
        waiting: deque[Future[tuple[Tensor, Tensor]]] = deque()
        try:
            for i in range(len(self) + self.prefetch):
                if i < len(self):
                    waiting.append(pool.submit(self._batch, order, i))
                if i >= self.prefetch and waiting:
                    yield waiting.popleft().result()
        finally:  # also when the reader stops half way, or Ctrl-C arrives: at most one batch a thread is left
            pool.shutdown(cancel_futures=True)

    def _batch(self, order: np.ndarray, i: int) -> tuple[Tensor, Tensor]:
        try:
            return self._make(order, i)
        except CompressError:
            raise
        except Exception as error:
            raise CompressError(
                f"batch {i + 1} of epoch {self.epoch + 1} cannot be made: {type(error).__name__}: {error}"
            ) from error

    def _make(self, order: np.ndarray, i: int) -> tuple[Tensor, Tensor]:
        import torch

        rows = order[i * self.batch_size : (i + 1) * self.batch_size]
        images = torch.from_numpy(self.data.images[rows]).permute(0, 3, 1, 2)  # a copy, seen as N x 3 x H x W
        if self.augment is not None:
            images = images.to(self.device if self.augment.on_device else "cpu")
            images = self.augment(images, np.random.default_rng([self.seed, self.epoch, _CHANGE, i]))
        targets = torch.from_numpy(self.data.targets[rows]).to(self.device)
        return images.to(self.device), targets


class Timed:
    """Goes through ``batches`` and adds up in ``waited`` the seconds until each was there."""

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        self.batches, self.waited = batches, 0.0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = iter(self.batches)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch
