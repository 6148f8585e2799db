"""What `data eda` finds of planted faults: copies of train photos in test, and wrong labels.

python benchmarks/eda.py PATH/trashnet [--planted 40]
python benchmarks/eda.py PATH/trashnet --quick    # 40 photos a class, a check that it works

Copies are cropped by a few per cent, made brighter or darker, and encoded again; wrong labels are drawn at
random, so that many of them are hard (glass called plastic).
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageEnhance

from compress.eda import examine


def main(
    root: Annotated[Path, typer.Argument(help="A folder with train/ and test/.")],
    planted: Annotated[int, typer.Option(help="Faults of each kind.")] = 40,
    seed: int = 0,
    quick: Annotated[bool, typer.Option(help="40 photos a class, 6 faults of each kind.")] = False,
) -> None:
    """Print the counts."""
    planted = 6 if quick else planted
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("BEYONDNAS_CACHE", f"{folder}/cache")
        copy = Path(folder, "photos")
        link(root.resolve(), copy, 40 if quick else None)
        before = examine(copy, log=lambda line: None)
        copies, labels = plant(copy, planted, np.random.default_rng(seed))
        began = time.perf_counter()
        eda = examine(copy, log=lambda line: None)
        seconds = time.perf_counter() - began
    assert eda.labels is not None
    groups = [{eda.photos[i].name for i in group.photos} for group in eda.groups]
    found = sum(any(pair <= group for group in groups) for pair in copies)
    print(f"near-duplicates across splits: {found} of {len(copies)} planted found")
    print(f"  groups before: {len(before.groups)}, now: {len(eda.groups)}")
    suspects = {eda.photos[one.row].name: rank for rank, one in enumerate(eda.labels.suspects, 1)}
    ranks = sorted(suspects[name] for name in labels if name in suspects)
    print(
        f"wrong labels: {len(ranks)} of {len(labels)} planted are among the {len(suspects)} suspicious ones"
    )
    print(f"  of the first {len(labels)} suspicious ones {sum(r <= len(labels) for r in ranks)} were planted")
    if before.labels is not None:
        print(f"  suspicious without them: {len(before.labels.suspects)} of {before.labels.checked}")
    print(f"features: {eda.features}; probe right on {eda.labels.accuracy:.1%}")
    print(f"{len(eda.photos)} photos in {seconds:.1f} s, decoding and features included")


def link(root: Path, out: Path, each: int | None) -> None:
    """The same tree of links, with at most ``each`` photos a class and split."""
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        to = out / folder.relative_to(root)
        to.mkdir(parents=True)
        for path in sorted(folder.iterdir())[:each]:
            (to / path.name).symlink_to(path)


def plant(root: Path, count: int, rng: np.random.Generator) -> tuple[list[set[str]], list[str]]:
    """Names of each original with its copy, and of the photos under wrong labels."""
    photos = sorted(path.relative_to(root) for path in root.glob("train/*/*"))
    classes = sorted({path.parts[1] for path in photos})
    chosen = [photos[i] for i in rng.permutation(len(photos))[: 2 * count]]
    copies, labels = [], []
    for path in chosen[:count]:
        to = Path("test", path.parts[1], f"planted-{path.name}")
        altered(Image.open(root / path), rng).save(root / to, quality=int(rng.integers(40, 90)))
        copies.append({path.as_posix(), to.as_posix()})
    for path in chosen[count:]:
        wrong = rng.choice([name for name in classes if name != path.parts[1]])
        to = Path("train", str(wrong), f"planted-{path.name}")
        (root / path).rename(root / to)
        labels.append(to.as_posix())
    return copies, labels


def altered(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Up to 3 % cut off each side, up to 20 % brighter or darker."""
    left, top, right, bottom = rng.uniform(0, 0.03, 4)
    box = (left * image.width, top * image.height, (1 - right) * image.width, (1 - bottom) * image.height)
    cut = image.convert("RGB").crop(tuple(map(round, box)))
    return ImageEnhance.Brightness(cut).enhance(rng.uniform(0.8, 1.2))


if __name__ == "__main__":
    typer.run(main)
