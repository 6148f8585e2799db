"""scikit-learn's handwritten digits: 1,797 real 8 x 8 images that need no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field

from compress.data.cache import pixel_digest
from compress.data.images import ImageSet, Splits
from compress.data.splits import fingerprint, hold_out
from compress.spec import Spec

_TEST_FRACTION, _VAL_FRACTION, _TUNE_FRACTION = 0.2, 0.15, 0.1
_TEST_SEED = 0  # test is the same in every run, whatever the recipe's seed
_NOTE = "digits: the 43 writers are not recorded, so images by one writer are in train and in test alike"


class DigitsData(Spec):
    """The embedded default: ten classes, four stratified splits, each grey 8 x 8 image enlarged to RGB.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """

    kind: Literal["digits"] = "digits"
    image_size: int = Field(32, ge=8, le=512, description="Side of the square every image is enlarged to.")

    def check(self) -> list[str]:
        """Nothing can be missing: the images come with scikit-learn."""
        return []

    def load(self, seed: int, log: Callable[[str], None] = print) -> Splits:
        """The four splits; ``seed`` is of val and tune, test is fixed."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        targets = digits.target.astype(np.int64)
        everything = ImageSet(
            np.stack([_enlarge(image, self.image_size) for image in digits.images]),
            targets,
            tuple(str(name) for name in digits.target_names),
            tuple(f"digits/{i:04d}" for i in range(len(targets))),
        )
        rest, test = hold_out(targets, _TEST_FRACTION, _TEST_SEED)
        kept, val = hold_out(targets[rest], _VAL_FRACTION, seed)
        train, tune = hold_out(targets[rest[kept]], _TUNE_FRACTION, seed)
        parts = (rest[kept[train]], rest[kept[tune]], rest[val], test)
        sets = [everything.take(part) for part in parts]
        log(_NOTE)
        digests = [[pixel_digest(image) for image in data.images] for data in sets]
        return Splits(sets[0], sets[1], sets[2], sets[3], fingerprint(sets, digests), (_NOTE,))


def _enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """Float 8 x 8 in 0..16 to uint8 size x size x 3."""
    from PIL import Image

    grey = Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8))
    return np.array(grey.resize((size, size), Image.Resampling.BICUBIC).convert("RGB"), dtype=np.uint8)
