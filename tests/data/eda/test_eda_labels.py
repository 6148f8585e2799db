"""Suspicious labels: planted ones are found, near-duplicates cannot vouch for each other."""

from __future__ import annotations

import numpy as np
import pytest

from compress.data.eda.labels import check_labels


def blobs(counts: list[int], spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features about a centre a class, and the classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 3, (len(counts), 20))
    targets = np.repeat(np.arange(len(counts)), counts)
    return centres[targets] + rng.normal(0, spread, (len(targets), 20)), targets


def alone(targets: np.ndarray) -> np.ndarray:
    return np.arange(len(targets))


def test_planted_wrong_labels_come_first() -> None:
    features, truth = blobs([60, 80, 40, 50])
    planted = {3: 1, 70: 2, 150: 0, 200: 1}
    labels = truth.copy()
    for row, wrong in planted.items():
        labels[row] = wrong
    check = check_labels(features, labels, 4, alone(labels))
    assert check is not None
    assert {one.row for one in check.suspects} == set(planted)
    for one in check.suspects:
        assert (one.label, one.looks_like) == (planted[one.row], truth[one.row])
        assert one.own < 0.1 < 0.5 < one.other
    margins = [one.own - one.other for one in check.suspects]
    assert margins == sorted(margins)
    assert check.accuracy == pytest.approx(1 - 4 / 230)
    assert check.chance == pytest.approx(max(np.bincount(labels)) / 230)
    matrix = np.array(check.matrix)
    assert (matrix.sum(1) == np.bincount(labels)).all()
    assert np.trace(matrix) == 226
    assert (check.checked, check.left_out) == (230, ())


def test_right_labels_of_clear_classes_are_left_alone() -> None:
    features, labels = blobs([50, 50, 50])
    check = check_labels(features, labels, 3, alone(labels))
    assert check is not None
    assert check.suspects == ()
    assert check.accuracy == 1


def test_labels_that_say_nothing_of_the_photos_give_a_weak_probe() -> None:
    features, labels = blobs([100, 100])
    shuffled = np.random.default_rng(1).permutation(labels)
    check = check_labels(features, shuffled, 2, alone(labels))
    assert check is not None
    assert abs(check.accuracy - 0.5) < 0.15


def test_near_duplicates_with_one_wrong_label_do_not_hide_it() -> None:
    """Ten copies of one photo, all labelled wrong: judged by each other they look right."""
    features, labels = blobs([60, 60])
    features[:10] = features[0] + np.random.default_rng(2).normal(0, 0.01, (10, 20))
    labels[:10] = 1
    groups = np.concatenate([np.zeros(10, dtype=int), np.arange(1, 111)])
    check = check_labels(features, labels, 2, groups)
    assert check is not None
    assert {one.row for one in check.suspects} == set(range(10))


def test_classes_with_few_photos_are_left_out_and_rows_stay_right() -> None:
    features, truth = blobs([40, 3, 40, 6])
    labels = truth.copy()
    labels[50] = 0
    check = check_labels(features, labels, 5, alone(labels))  # class 4 has none at all
    assert check is not None
    assert check.left_out == (1,)
    assert check.checked == 86
    assert [(one.row, one.looks_like) for one in check.suspects] == [(50, 2)]
    assert np.array(check.matrix)[1].sum() == np.array(check.matrix)[:, 1].sum() == 0
    one_group = np.where(truth == 3, 1000, alone(labels))  # six photos, but of one thing
    again = check_labels(features, labels, 5, one_group)
    assert again is not None
    assert again.left_out == (1, 3)


def test_too_little_to_check() -> None:
    features, labels = blobs([40, 3])
    assert check_labels(features, labels, 2, alone(labels)) is None
    assert check_labels(features[:40], labels[:40], 1, alone(labels)[:40]) is None


def test_the_same_again_for_the_same_seed() -> None:
    features, labels = blobs([60, 60, 60], spread=6)
    first, again = (check_labels(features, labels, 3, alone(labels), seed=3) for _ in range(2))
    assert first == again
    assert first != check_labels(features, labels, 3, alone(labels), seed=4)
