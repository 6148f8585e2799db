import numpy as np
import pytest

from compress.data.digits import DigitsData


def quiet(line: str) -> None:
    """No log."""


def test_four_stratified_splits_of_all_images() -> None:
    splits = DigitsData().load(0, quiet)
    sets = (splits.train, splits.tune, splits.val, splits.test)
    assert sum(len(s) for s in sets) == 1797
    assert len({name for s in sets for name in s.names}) == 1797
    assert splits.labels == tuple("0123456789")
    assert splits.train.images.shape[1:] == (32, 32, 3)
    assert splits.train.images.dtype == np.uint8
    assert splits.train.targets.dtype == np.int64
    total = np.bincount(np.concatenate([s.targets for s in sets]))
    for data, share in zip(sets, (0.612, 0.068, 0.12, 0.2), strict=True):
        assert (np.abs(np.bincount(data.targets) - share * total) < 2.5).all()


def test_test_is_the_same_for_every_seed() -> None:
    first, second = DigitsData(image_size=8).load(0, quiet), DigitsData(image_size=8).load(1, quiet)
    assert first.test.names == second.test.names
    assert first.val.names != second.val.names
    assert first.fingerprint != second.fingerprint
    assert DigitsData(image_size=8).load(0, quiet).fingerprint == first.fingerprint


def test_images_are_the_real_digits() -> None:
    from sklearn.datasets import load_digits

    splits = DigitsData(image_size=8).load(0, quiet)
    source = load_digits()
    for image, target, name in zip(splits.val.images, splits.val.targets, splits.val.names, strict=True):
        i = int(name.split("/")[1])
        assert target == source.target[i]
        assert np.abs(image[..., 1] - source.images[i] * 255 / 16).max() <= 0.5


def test_size_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size"):
        DigitsData(image_size=4)
