"""Drawn photos of a few kinds, each on its own background, for tests that need many."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

KINDS = ("bars", "rings", "squares")


def draw(kind: str, rng: np.random.Generator, width: int = 120, height: int = 90) -> np.ndarray:
    """uint8 height x width x 3: green bars, red rings or blue squares, on smooth noise."""
    coarse = rng.integers(90, 200, (5, 6, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(2, 5)):
        x, y = int(rng.integers(10, width - 10)), int(rng.integers(10, height - 10))
        size = int(rng.integers(8, 24))
        if kind == "bars":
            cv2.line(image, (x - size, y), (x + size, y), (20, 150, 40), 5)
        elif kind == "rings":
            cv2.circle(image, (x, y), size, (190, 20, 30), 4)
        else:
            cv2.rectangle(
                image, (x - size // 2, y - size // 2), (x + size // 2, y + size // 2), (20, 40, 170), -1
            )
    noise = rng.normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def make_set(root: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """``counts[split]`` photos of each kind: root/split/kind/0001.jpg, ...; split "" has no folder."""
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        for kind in KINDS:
            folder = root / split / kind
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draw(kind, rng)).save(folder / f"{i:04d}.jpg", quality=90)
    return root
