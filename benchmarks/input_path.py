"""Images a second of our input path and of ImageFolder + PIL RandAugment + DataLoader; share of model time.

python benchmarks/input_path.py PATH/trashnet [--rounds 9] [--size 128]
python benchmarks/input_path.py              # without photos: on drawn ones
python benchmarks/input_path.py --quick      # a check that it works

Both paths crop, mirror, do two RandAugment operations and end in a normalised float batch, one process each,
in turns: once on one core (no worker, no thread), once on all of them (a worker or a thread a core). Then a
MobileNetV3-Small at 96 px and a MobileNetV3-Large at 128 px train for a few epochs, and what is not spent on
making batches and normalising them is model time.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

BATCH = 32
MODELS = (("mobilenetv3_small", 96), ("mobilenetv3", 128))


def main(
    root: Annotated[Path | None, typer.Argument(help="A folder with train/ and test/.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each path.")] = 9,
    images: Annotated[int, typer.Option(help="Photos a turn.")] = 640,
    size: int = 128,
    quick: Annotated[bool, typer.Option(help="Few photos, few turns.")] = False,
) -> None:
    """Print the figures."""
    rounds, images = (3, 96) if quick else (rounds, images)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BEYONDNAS_CACHE"] = f"{folder}/cache"
        if root is None:
            root = Path(folder, "photos")
            draw(root, images)
        cores = own_cores()
        for used in (cores[:1], cores) if len(cores) > 1 else (cores,):
            with pinned(used):
                throughput(root, rounds, images, size, len(used))
        for name, side in MODELS:
            share(root, name, side, images if not quick else 64)


def throughput(root: Path, rounds: int, images: int, size: int, cores: int) -> None:
    """Turns of both paths on the same ``cores``, and the ratio turn by turn."""
    import torch

    from compress.training.memory import keep_freed_memory

    torch.set_num_threads(1)
    theirs, ours = reference(root, images, size, cores), ours_on(root, images, size, cores)
    wall: dict[str, list[float]] = {"theirs": [], "ours": []}
    cpu: dict[str, list[float]] = {"theirs": [], "ours": []}
    with keep_freed_memory():  # as while training
        theirs(), ours()
        for _ in range(rounds):
            for name, path in (("theirs", theirs), ("ours", ours)):
                began, busy = time.perf_counter(), cpu_seconds()
                made = path()
                wall[name].append((time.perf_counter() - began) / made)
                cpu[name].append((cpu_seconds() - busy) / made)
    print(f"{size} px, {cores} core{'s' if cores > 1 else ''}, {rounds} turns of {made} photos")
    for name, label in (("theirs", "ImageFolder + PIL + DataLoader"), ("ours", "Batches (ours)")):
        rate = [1 / one for one in wall[name]]
        spread = f"{min(rate):.0f} to {max(rate):.0f}"
        print(f"  {label:31} {statistics.median(rate):6.0f} images/s ({spread})")
    for label, took in (("images/s", wall), ("CPU time", cpu)):
        ratios = [a / b for a, b in zip(took["theirs"], took["ours"], strict=True)]
        print(
            f"  ratio by {label:22} {statistics.median(ratios):6.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        )


def reference(root: Path, images: int, size: int, cores: int) -> Callable[[], int]:
    """Torchvision's transforms on PIL images, in the process itself or in a worker a core."""
    from torch.utils.data import DataLoader, Subset
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    from compress.net import IMAGENET_MEAN, IMAGENET_STD

    steps = [
        transforms.RandomResizedCrop(size, scale=(0.5, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.RandAugment(num_ops=2, magnitude=9),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    photos = ImageFolder(str(root / "train"), transforms.Compose(steps))
    some = Subset(photos, spread(len(photos), images).tolist())
    workers = cores if cores > 1 else 0
    loader = DataLoader(some, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: sum(len(batch) for batch, _ in loader)


def ours_on(root: Path, images: int, size: int, cores: int) -> Callable[[], int]:
    """Decoded once, then made by the reading thread itself or by a thread a core."""
    from compress.data.augment import RandAugment
    from compress.data.folder import FolderData
    from compress.data.loader import Batches
    from compress.net import Preprocess
    from compress.training.batch import inputs

    data = FolderData(root=root, image_size=size).load(0, print).train
    some = data.take(spread(len(data), images))
    how = {"prefetch": 2 * cores, "threads": cores} if cores > 1 else {}
    preprocess = Preprocess(size)

    def one_pass() -> int:
        batches = Batches(some, BATCH, augment=RandAugment(n=2, magnitude=9), shuffle=True, **how)
        return sum(len(inputs(batch, preprocess, channels_last=True)) for batch, _ in batches)

    return one_pass


def share(root: Path, name: str, size: int, images: int) -> None:
    """Train as `python -m compress` does, with the default augmentation and with RandAugment."""
    import torch

    from compress.data.augment import FlipCrop, RandAugment
    from compress.data.folder import FolderData
    from compress.data.loader import Batches
    from compress.models import arch
    from compress.net import Preprocess
    from compress.train import TrainSpec, fit
    from compress.training.batch import inputs
    from compress.training.memory import keep_freed_memory

    torch.set_num_threads(len(own_cores()))
    data = FolderData(root=root, image_size=size).load(0, lambda line: None).train
    data = data.take(spread(len(data), images))
    preprocess = Preprocess(size)
    for augment in (FlipCrop(), RandAugment()):
        module = arch.build(Path("recipes/models", f"{name}.yaml"), len(data.labels), size=size)
        spec = TrainSpec(epochs=3, augment=augment, device="cpu")
        done = fit(module, data, spec, preprocess=preprocess, log=lambda line: None)
        last = done.history[1:]  # the first epoch allocates
        normalising = []
        with keep_freed_memory():
            for images_, _ in Batches(data, BATCH, drop_last=True):
                began = time.perf_counter()
                inputs(images_, preprocess, channels_last=True)
                normalising.append(time.perf_counter() - began)
        seconds = sum(epoch["seconds"] for epoch in last)
        fed = sum(epoch["waited"] for epoch in last) + len(last) * statistics.median(normalising) * len(
            normalising
        )
        count = len(last) * len(normalising) * BATCH
        print(
            f"{name} at {size} px, {augment.kind}: {1 - fed / seconds:.1%} model time "
            f"({1e3 * seconds / count:.2f} ms an image, of them {1e3 * fed / count:.3f} for its input)"
        )


def spread(count: int, wanted: int) -> np.ndarray:
    """Up to ``wanted`` indices over all classes, a whole number of batches."""
    wanted = min(count, wanted) // BATCH * BATCH
    return np.linspace(0, count - 1, wanted).astype(np.int64)


def cpu_seconds() -> float:
    """Of this process and of its workers."""
    own = sum(os.times()[:2])
    for task in Path("/proc").glob("[0-9]*/stat") if Path("/proc/self/stat").exists() else ():
        try:
            fields = task.read_text().rsplit(")", 1)[1].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[1]) == os.getpid():
            own += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own


def own_cores() -> list[int]:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def pinned(cores: list[int]) -> Iterator[None]:
    """Inside, this process and its workers keep to ``cores``, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def draw(root: Path, count: int) -> None:
    """Photos as large as TrashNet's copies, of smooth noise, in six classes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, n in (("train", 2 * count), ("test", 12)):
        for i in range(n):
            folder = root / split / f"class{i % 6}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            fine = rng.normal(0, 6, (192, 256, 3))
            pixels = np.asarray(coarse.resize((256, 192), Image.Resampling.BICUBIC)) + fine
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.jpg", quality=85)


if __name__ == "__main__":
    typer.run(main)
