"""Small ImageFolders of real JPEG files, and a cache folder of each test's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where decoded photos are kept during the test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BEYONDNAS_CACHE", str(folder))
    return folder


@pytest.fixture
def make_folder(tmp_path: Path) -> Make:
    """``make(train={"a": 6, "b": 6}, test={"a": 2, "b": 2})`` writes numbered 24 x 20 photos."""

    def make(name: str = "photos", **splits: Mapping[str, int]) -> Path:
        root = tmp_path / name
        rng = np.random.default_rng(0)
        for split, classes in splits.items():
            for label, count in classes.items():
                folder = root / split / label
                folder.mkdir(parents=True)
                for i in range(1, count + 1):
                    pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
                    Image.fromarray(pixels).save(folder / f"{label}{i}.jpg", quality=90)
        return root

    return make
