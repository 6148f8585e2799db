"""Photos with annotations, for the tests of crops."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 60, 40
Boxes = Sequence[tuple[float, float, float, float]]


def scene(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Every pixel tells where it is: red grows to the right, green downwards, in steps of 4."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x * 4, y * 4, np.full_like(x, 90)], axis=2).astype(np.uint8))


def save_jpeg(image: Image.Image, path: Path) -> None:
    image.save(path, "JPEG", quality=95)


def write_set(
    folder: Path,
    photos: dict[str, Boxes],
    save: Callable[[Image.Image, Path], None] = save_jpeg,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    categories: Sequence[str] = ("can", "cup"),
) -> tuple[Path, Path]:
    """``photos`` by name with their boxes, categories in turn: the annotation file and the photos' folder."""
    images, annotations = [], []
    for number, (name, boxes) in enumerate(photos.items()):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(scene(*size), path)
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        for box in boxes:
            i = len(annotations)
            annotations.append(
                {
                    "id": i,
                    "image_id": number,
                    "category_id": (number + i) % len(categories),
                    "bbox": list(box),
                }
            )
    path = folder / "annotations.json"
    path.write_text(
        json.dumps(
            {
                "images": images,
                "annotations": annotations,
                "categories": [{"id": i, "name": name} for i, name in enumerate(categories)],
            }
        )
    )
    return path, folder / "photos"


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
