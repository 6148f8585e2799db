import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from compress.data.images import ImageSet
from compress.errors import CompressError
from compress.measure.quality import (
    calibration_error,
    evaluate,
    f1_difference_interval,
    quality,
    score_interval,
)
from compress.measure.score import F1Macs, F1Time
from compress.ratio import Ratio

LABELS = ("a", "b", "c", "d")


def some(n=300, right=0.7, seed=0, classes=4):
    rng = np.random.default_rng(seed)
    targets = rng.choice(classes, n, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    return targets, np.where(rng.random(n) < right, targets, rng.integers(0, classes, n))


def test_equals_scikit_learn():
    targets, predictions = some()
    got = quality(targets, predictions, LABELS)
    assert got.f1 == f1_score(targets, predictions, average="macro")
    assert list(got.f1_per_class.values()) == list(f1_score(targets, predictions, average=None))
    assert got.accuracy == accuracy_score(targets, predictions)
    assert np.array_equal(got.confusion, confusion_matrix(targets, predictions))
    assert got.n == 300
    assert np.array_equal(got.predictions, predictions)


def test_a_class_nowhere_in_the_split_does_not_count():
    targets, predictions = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    got = quality(targets, predictions, LABELS)
    assert got.f1 == f1_score(targets, predictions, average="macro")
    assert got.f1_per_class["c"] is None
    low, high = got.interval
    assert low <= got.f1 <= high


def test_the_interval_is_that_of_resampling_images_class_by_class():
    targets, predictions = some(n=120)
    rng = np.random.default_rng(1)
    slow = []
    for _ in range(500):
        index = np.concatenate(
            [rng.choice(w, len(w)) for w in (np.flatnonzero(targets == t) for t in range(4))]
        )
        slow.append(f1_score(targets[index], predictions[index], average="macro"))
    got = quality(targets, predictions, LABELS, samples=2000)
    assert got.interval == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.02)
    assert got.interval == quality(targets, predictions, LABELS, samples=2000).interval


def test_the_interval_covers_the_truth():
    """Of 200 sets drawn from one known confusion, about 95 % of intervals hold the F1 of a huge set."""
    truth = quality(*some(n=400_000, seed=99), LABELS, samples=1).f1
    held = 0
    for seed in range(200):
        low, high = quality(*some(n=250, seed=seed), LABELS, samples=300).interval
        held += low <= truth <= high
    assert 178 <= held <= 200


def test_pairs_are_resampled_together():
    targets, predictions = some()
    assert f1_difference_interval(targets, predictions, predictions) == (0.0, 0.0)
    worse = predictions.copy()
    worse[:20] = (targets[:20] + 1) % 4
    low, high = f1_difference_interval(targets, predictions, worse)
    assert 0 < low < high
    mine, base = quality(targets, predictions, LABELS), quality(targets, worse, LABELS)
    assert high - low < mine.interval[1] - mine.interval[0]
    assert low < mine.f1 - base.f1 < high


def test_score_interval_holds_the_score_and_grows_with_the_clock_noise():
    targets, predictions = some(seed=1)
    _, base = some(seed=1, right=0.65)
    exact, noisy = Ratio(0.5, 0.5, 0.5), Ratio(0.5, 0.3, 0.8)
    score = F1Time().with_base(f1=quality(targets, base, LABELS).f1, time=1.0)
    point = score.points(f1=quality(targets, predictions, LABELS).f1, time=0.5)
    narrow = score_interval(F1Time(), targets, predictions, base, exact)
    wide = score_interval(F1Time(), targets, predictions, base, noisy)
    assert narrow[0] < point < narrow[1]
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_score_interval_of_the_baseline_itself_is_one():
    targets, predictions = some()
    assert score_interval(F1Time(), targets, predictions, predictions, Ratio(1, 1, 1)) == (1.0, 1.0)


def test_score_interval_with_stated_bases_and_with_macs():
    targets, predictions = some()
    f1 = quality(targets, predictions, LABELS).f1
    stated = F1Time(f1_base=0.7, time_base=10.0)
    low, high = score_interval(stated, targets, predictions, predictions, Ratio(0.5, 0.5, 0.5), base_time=8.0)
    assert low < stated.points(f1=f1, time=4.0) < high
    low, high = score_interval(F1Macs(), targets, predictions, predictions, Ratio(1, 1, 1), macs=1e6)
    assert low < F1Macs().points(f1=f1, macs=1e6) < high


def images(n=70):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, n)
    pixels = rng.integers(0, 50, (n, 8, 8, 3), dtype=np.uint8)
    pixels[np.arange(n), 0, targets, 0] = 255
    return ImageSet(pixels, targets, LABELS)


def test_evaluate_runs_every_image_once_and_in_order():
    data = images()
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return batch[:, 0, :4, 0].astype(np.float32)

    got = evaluate(run, data, batch=32)
    assert sizes == [32, 32, 6]
    assert got.f1 == got.accuracy == 1.0
    assert evaluate(lambda b: -run(b), data).f1 < 0.2


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (lambda b: np.zeros((len(b), 3), np.float32), "shape"),
        (lambda b: np.full((len(b), 4), np.nan, np.float32), "NaN"),
    ],
)
def test_evaluate_refuses_nonsense(run, named):
    with pytest.raises(CompressError, match=named):
        evaluate(run, images())


def test_evaluate_refuses_an_empty_split():
    with pytest.raises(CompressError, match="empty"):
        evaluate(lambda b: b, images().take(np.array([], dtype=int)))


def test_calibration_error_is_that_of_its_definition():
    """Guo et al. 2017, bin by bin and image by image."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        targets, _ = some(n=150, seed=seed)
        logits = rng.normal(size=(150, 4)) * rng.uniform(0.2, 6)
        logits[np.arange(150), targets] += rng.uniform(0, 2)
        slow = 0.0
        for i in range(15):
            hits, sure = [], []
            for row, target in zip(logits, targets, strict=True):
                p = [math.exp(v) for v in row]
                top = max(p) / sum(p)
                if i / 15 < top <= (i + 1) / 15:
                    hits.append(int(np.argmax(row)) == target)
                    sure.append(top)
            if hits:
                slow += len(hits) / 150 * abs(sum(hits) / len(hits) - sum(sure) / len(sure))
        assert calibration_error(logits.astype(np.float32), targets) == pytest.approx(slow, abs=1e-6)


def test_calibration_error_of_the_sure_and_of_the_honest():
    targets = np.array([0, 1, 2, 3] * 50)
    right = np.eye(4, dtype=np.float32)[targets]
    assert calibration_error(1000 * right, targets) == pytest.approx(0.0)
    assert calibration_error(1000 * np.roll(right, 1, axis=1), targets) == pytest.approx(1.0)
    assert calibration_error(np.zeros((200, 4), np.float32), targets) == pytest.approx(0.0)
    assert evaluate(lambda b: b[:, 0, :4, 0].astype(np.float32), images()).ece == pytest.approx(0.0)


def test_the_scores_interval_is_that_of_drawing_images_and_times_again():
    """A slow reference: images drawn one by one, class by class, for both models; the time beside them."""
    targets, predictions = some(n=150, seed=3)
    _, base = some(n=150, seed=3, right=0.6)
    ratio = Ratio(0.6, 0.5, 0.72)
    rng = np.random.default_rng(2)
    slow = []
    for _ in range(800):
        index = np.concatenate(
            [rng.choice(w, len(w)) for w in (np.flatnonzero(targets == t) for t in range(4))]
        )
        mine, other = (f1_score(targets[index], p[index], average="macro") for p in (predictions, base))
        time = math.exp(rng.normal(math.log(0.6), (math.log(0.72) - math.log(0.5)) / 3.92))
        slow.append(0.5 * time + 1 / (1 + math.exp(-20 * (other - mine))))
    got = score_interval(F1Time(), targets, predictions, base, ratio, samples=4000)
    assert got == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.03)
    stated = F1Time(f1_base=0.7, time_base=2.0)
    slow_stated = score_interval(stated, targets, predictions, base, ratio, base_time=2.0, samples=4000)
    assert slow_stated != pytest.approx(got, abs=0.03)  # the base's own noise is no part of it then
