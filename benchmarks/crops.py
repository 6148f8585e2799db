"""`data crops`: how fast 20,000 boxes are judged, how fast they are cut out, and in how much memory.

python benchmarks/crops.py [--quick]

The photos are generated JPEGs of 1600 x 1200 with three boxes each. The bare loop opens, crops and saves with
the same padding and quality, in one thread; it plans nothing, checks nothing and lists nothing. Both take
turns, so that what else the machine does slows both.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from compress.data.bars import cores
from compress.data.crops.boxes import Boxes, Photo
from compress.data.crops.coco import read_boxes
from compress.data.crops.make import make_crops, plan_crops
from compress.data.crops.spec import CropSpec

SIZE, EACH = (1600, 1200), 3
SPEC = CropSpec(classes="categories", drop=(), iou=None, max_aspect=None)


def main(
    quick: Annotated[bool, typer.Option(help="Fewer photos and rounds.")] = False,
    peak: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Print all figures."""
    if peak is not None:
        make_crops(peak / "annotations.json", peak / "photos", peak / "set", SPEC)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    filtering()
    photos, rounds = (40, 3) if quick else (200, 7)
    with tempfile.TemporaryDirectory() as folder:
        cropping(Path(folder), photos, rounds)
        memory(Path(folder), photos // 2)


def filtering() -> None:
    """Median seconds to judge and deal out 20,000 boxes, spread over photos and all in one."""
    for count in (6_500, 1):
        rng = np.random.default_rng(0)
        side = 900 if count > 1 else 40_000
        start, extent = rng.uniform(0, side, (20_000, 2)), np.exp(rng.uniform(3, 6.5, (20_000, 2)))
        boxes = Boxes(
            np.arange(20_000),
            rng.integers(0, count, 20_000),
            rng.integers(0, 6, 20_000),
            np.concatenate([start, extent], axis=1),
            np.zeros(20_000, dtype=bool),
            tuple(Photo(i, f"{i}.jpg", side, side) for i in range(count)),
            tuple("abcdef"),
        )
        took = []
        for _ in range(5):
            began = time.perf_counter()
            plan = plan_crops(boxes, CropSpec(classes="categories", drop=()))
            took.append(time.perf_counter() - began)
        gone = int((plan.reasons == "overlap").sum())
        print(f"20,000 boxes in {count} photos: {median(took):.3f} s ({gone} overlap)")


def cropping(folder: Path, photos: int, rounds: int) -> None:
    """Crops a second beside a bare loop, in turns."""
    write_photos(folder / "speed", photos)
    path, images, out = folder / "speed/annotations.json", folder / "speed/photos", folder / "speed/set"
    plan = plan_crops(read_boxes(path), SPEC)
    speeds: dict[str, list[float]] = {"bare loop": [], "1 thread": [], f"{cores()} threads": []}
    for _ in range(rounds):
        for name, speed in speeds.items():
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            if name == "bare loop":
                bare(plan.boxes, images, out)
            else:
                make_crops(path, images, out, SPEC, workers=int(name.split()[0]))
            speed.append(photos * EACH / (time.perf_counter() - began))
    for name, speed in speeds.items():
        shares = [a / b for a, b in zip(speed, speeds["bare loop"], strict=True)]
        print(f"{name}: {median(speed):.0f} crops/s, {median(shares):.0%} of the bare loop")


def bare(boxes: Boxes, images: Path, out: Path) -> None:
    """What cannot be saved: decode, crop, pad, encode."""
    out.mkdir()
    corners = boxes.corners().astype(int).tolist()
    for i, photo in enumerate(boxes.photos):
        with Image.open(images / photo.name) as image:
            for row in np.flatnonzero(boxes.photo == i).tolist():
                crop = image.crop(corners[row])
                square = Image.new("RGB", (max(crop.size),) * 2)
                square.paste(crop, ((square.width - crop.width) // 2, (square.height - crop.height) // 2))
                square.save(out / f"{row}.jpg", quality=95)


def memory(folder: Path, photos: int) -> None:
    """Peak resident memory of two processes, one with four times the photos."""
    for count in (photos, 4 * photos):
        root = folder / f"memory{count}"
        write_photos(root, count)
        done = subprocess.run(
            [sys.executable, __file__, "--peak", str(root)], check=True, capture_output=True, text=True
        )
        print(f"{count} photos, {count * EACH} crops: peak {float(done.stdout):.0f} MiB")
        shutil.rmtree(root)


def write_photos(root: Path, count: int) -> None:
    """JPEGs with detail, a few different ones under many names, and their annotations."""
    rng = np.random.default_rng(1)
    (root / "photos").mkdir(parents=True)
    images, annotations = [], []
    for i in range(count):
        path = root / "photos" / f"{i:05d}.jpg"
        if i < 8:
            small = rng.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
            Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
        else:
            os.link(root / "photos" / f"{i % 8:05d}.jpg", path)
        images.append({"id": i, "file_name": path.name, "width": SIZE[0], "height": SIZE[1]})
        for j in range(EACH):
            x, y, w, h = (int(v) for v in rng.integers(100, 600, 4))
            annotations.append({"id": i * EACH + j, "image_id": i, "category_id": j, "bbox": [x, y, w, h]})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": j, "name": f"c{j}"} for j in range(EACH)],
    }
    (root / "annotations.json").write_text(json.dumps(content))


if __name__ == "__main__":
    typer.run(main)
