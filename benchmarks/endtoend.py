"""JPEG to label, one image at a time on one thread: as shipped, beside PIL + torchvision + eager PyTorch.

python benchmarks/endtoend.py PATH/trashnet [--epochs 30] [--size 96] [--width 0.35]
python benchmarks/endtoend.py                # without photos: on drawn ones, a check that it works

Trains a MobileNetV3-Small (cached in the store), exports it, and prints, from interleaved runs: how many
times as fast the shipped path is, with its interval; the share of test photos with the same label; the
interval of the paired F1 difference; and where the time of both paths goes.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from compress import FolderData, Recipe, TrainSpec, load, run
from compress.data.fast import at_scale, shrunk
from compress.data.folder import Group
from compress.data.images import ImageSet
from compress.measure.endtoend import Agreement, each_of, spread
from compress.measure.latency import Timing, interleaved
from compress.models import arch
from compress.net import Net, Preprocess
from compress.store import Store
from compress.yamlio import read_located

TIMED = 32  # photos, one by one in every call of the clock
MODEL = "recipes/models/mobilenetv3_small.yaml"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def main(
    root: Annotated[Path | None, typer.Argument(help="A folder with train/ and test/.")] = None,
    epochs: int = 30,
    size: int = 96,
    width: float = 0.35,
    seconds: Annotated[float, typer.Option(help="Time for each interleaved run.")] = 15.0,
) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = root is None
        if drawn:
            draw(Path(folder))
        data = FolderData(
            root=root or Path(folder),
            image_size=size,
            group=None if drawn else Group(pattern=r"(\d+)", block=5),
        )
        compare(data, min(epochs, 10) if drawn else epochs, width, seconds)


def compare(data: FolderData, epochs: int, width: float, seconds: float) -> None:
    """Train, export, time and compare labels."""
    import torch

    torch.set_num_threads(1)
    splits = data.load(0, lambda line: None)
    recipe = Recipe(name="endtoend", data=data, train=TrainSpec(epochs=epochs))
    store = Store()
    (step,) = run(recipe, model=backbone(splits.labels, data.image_size, width), store=store)
    assert step.artifact is not None
    assert step.score is not None
    shipped = load(step.artifact)
    net = store.net(step.key)
    assert net is not None
    files = [(data.root / name).read_bytes() for name in splits.test.names]

    slow, fast = competition(net.module, data.image_size), lambda image: label_of(shipped, image)
    labels = {name: np.array([one(f) for f in files]) for name, one in (("slow", slow), ("fast", fast))}
    agreement = Agreement.of(splits.test.targets, labels["slow"], labels["fast"])
    some = [files[i] for i in spread(len(files), TIMED)]
    timed = interleaved(
        {"slow": each_of(some, slow), "fast": each_of(some, fast)}, reference="slow", seconds=seconds
    )
    report(timed, agreement, splits.test, labels)
    print(
        f"artifact: {shipped.runtime.kind}, decoding {shipped.how}; {step.score.decode_note or 'by recipe'}"
    )
    parts(net.module, shipped, some, data.image_size, seconds)


def backbone(labels: tuple[str, ...], size: int, width: float) -> Net:
    """MobileNetV3-Small at a width, untrained."""
    import torch

    torch.manual_seed(0)
    content = {**read_located(Path(MODEL)).data, "width_multiple": width}
    return Net(arch.build(content, len(labels), size=size).eval(), Preprocess(size), labels)


def label_of(shipped: Any, image: bytes) -> int:
    return int(shipped.logits(shipped.decode(image)).argmax())


def competition(module: Any, size: int) -> Callable[[bytes], int]:
    """What the competition timed: PIL, torchvision's transforms, eager PyTorch, argmax."""
    import torch

    transform = transforms(size)

    def label(image: bytes) -> int:
        with torch.inference_mode():
            return int(module(transform(opened(image))[None]).argmax(1))

    return label


def transforms(size: int) -> Any:
    from torchvision import transforms as tv

    return tv.Compose([tv.Resize((size, size)), tv.ToTensor(), tv.Normalize(**IMAGENET)])


def opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image)).convert("RGB")


def report(
    timed: dict[str, Timing], agreement: Agreement, test: ImageSet, labels: dict[str, np.ndarray]
) -> None:
    """The claim's figures."""
    fast, slow, ratio = timed["fast"], timed["slow"], timed["fast"].ratio
    low, high = agreement.f1_difference
    print(
        f"JPEG to label: {fast.median_ms:.3f} ms shipped, {slow.median_ms:.3f} ms PIL + torchvision + eager"
    )
    print(f"{1 / ratio.median:.1f} times as fast (95 % {1 / ratio.high:.1f} to {1 / ratio.low:.1f})")
    print(f"same label for {agreement.same:.2%} of {agreement.n} photos")
    print(f"F1 shipped minus eager: 95 % {low:+.4f} to {high:+.4f}")
    for name, found in labels.items():
        print(f"accuracy {name}: {(found == test.targets).mean():.3f}")


def parts(module: Any, shipped: Any, photos: list[bytes], size: int, seconds: float) -> None:
    """Where the time goes, each part alone, in one interleaved run."""
    import torch

    images = [opened(photo) for photo in photos]
    resize, *rest = transforms(size).transforms
    small = [resize(image) for image in images]
    tensor = transforms(size)(images[0])[None]

    def normalised(image: Image.Image) -> object:
        value = image
        for one in rest:
            value = one(value)
        return value

    def eager() -> object:
        with torch.inference_mode():
            return module(tensor)

    runs: dict[str, Callable[[], object]] = {
        "slow: decode": each_of(photos, opened),
        "slow: resize": each_of(images, resize),
        "slow: to tensor, normalise": each_of(small, normalised),
        "slow: model": eager,
    }
    batch = shipped.decode(photos[0])
    if shipped.how == "fast":
        pixels = [found for photo in photos if (found := at_scale(photo, size)) is not None]
        runs["shipped: decode"] = each_of(photos, lambda photo: at_scale(photo, size))
        runs["shipped: resize"] = each_of(pixels, lambda found: shrunk(*found, size))
    else:
        runs["shipped: decode and resize"] = each_of(photos, shipped.decode)
    runs["shipped: model"] = lambda: shipped.logits(batch)
    for name, timing in interleaved(runs, reference="slow: model", seconds=seconds).items():
        print(f"  {name:<28} {timing.median_ms:.3f} ms")


def draw(root: Path, count: int = 60) -> None:
    """Photos to try it on: three shapes on noise, 256 x 192."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:192, 0:256]
    for label in ("disc", "square", "stripes"):
        for split, n in (("train", count), ("test", count // 2)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                cy, cx, r = rng.integers(60, 130), rng.integers(70, 190), rng.integers(30, 55)
                inside = {
                    "disc": (y - cy) ** 2 + (x - cx) ** 2 < r**2,
                    "square": (abs(y - cy) < r) & (abs(x - cx) < r),
                    "stripes": (x + cx) % r < r // 2,
                }[label]
                pixels = rng.normal(100, 25, (192, 256, 3)) + 90 * inside[..., None] * rng.random(3)
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(
                    folder / f"{i}.jpg", quality=90
                )


if __name__ == "__main__":
    typer.run(main)
