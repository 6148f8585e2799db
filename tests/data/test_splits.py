import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.data.images import ImageSet
from compress.data.splits import fingerprint, hold_out


@st.composite
def grouped(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Classes of 1-12 groups of 1-6 rows, each group within one class, shuffled."""
    targets, groups = [], []
    for c in range(draw(st.integers(1, 5))):
        for size in draw(st.lists(st.integers(1, 6), min_size=1, max_size=12)):
            groups += [len(set(groups))] * size
            targets += [c] * size
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(targets))
    return np.array(targets)[order], np.array(groups)[order]


fractions = st.floats(0.02, 0.9)
seeds = st.integers(0, 2**31)


def _is_partition(kept: np.ndarray, held: np.ndarray, n: int) -> None:
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(n))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()


@settings(deadline=None)
@given(grouped(), fractions, seeds)
def test_groups_of_one_class(data: tuple[np.ndarray, np.ndarray], fraction: float, seed: int) -> None:
    targets, groups = data
    kept, held = hold_out(targets, fraction, seed, groups)
    _is_partition(kept, held, len(targets))
    assert not set(groups[kept]) & set(groups[held])
    for c in np.unique(targets):
        sizes = np.unique(groups[targets == c], return_counts=True)[1]
        got = int((targets[held] == c).sum())
        assert (targets[kept] == c).any()
        assert abs(got - fraction * (targets == c).sum()) <= sizes.max()
        if len(sizes) > 1:
            assert got > 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), fractions, seeds)
def test_without_groups_each_class_is_cut_to_the_image(
    classes: list[int], fraction: float, seed: int
) -> None:
    targets = np.array(classes)
    kept, held = hold_out(targets, fraction, seed)
    _is_partition(kept, held, len(targets))
    for c, n in zip(*np.unique(targets, return_counts=True), strict=True):
        got = int((targets[held] == c).sum())
        nearest = min(max(round(fraction * n), min(1, n - 1)), n - 1)
        assert abs(got - nearest) <= (abs(fraction * n % 1 - 0.5) < 1e-6)  # halves may go either way


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=1, max_size=80),
    fractions,
    seeds,
)
def test_groups_across_classes_stay_whole(rows: list[tuple[int, int]], fraction: float, seed: int) -> None:
    targets, groups = np.array(rows).T
    kept, held = hold_out(targets, fraction, seed, groups)
    _is_partition(kept, held, len(targets))
    assert not set(groups[kept]) & set(groups[held])
    assert set(targets[kept]) == set(targets)


def test_groups_across_classes_come_near_the_fraction() -> None:
    rng = np.random.default_rng(0)
    targets, groups = rng.choice(4, 2000, p=[0.6, 0.25, 0.1, 0.05]), rng.integers(0, 400, 2000)
    _, held = hold_out(targets, 0.2, 3, groups)
    shares = np.bincount(targets[held]) / np.bincount(targets)
    assert (np.abs(shares - 0.2) < 0.02).all(), shares


def test_same_seed_same_rows_and_other_seed_others() -> None:
    targets = np.arange(300) % 3
    first, again, other = (hold_out(targets, 0.2, seed)[1] for seed in (5, 5, 6))
    assert (first == again).all()
    assert not np.array_equal(first, other)


def test_every_row_can_be_drawn() -> None:
    targets = np.zeros(40, dtype=int)
    drawn = {row for seed in range(60) for row in hold_out(targets, 0.2, seed)[1].tolist()}
    assert drawn == set(range(40))


def test_fingerprint_sees_pixels_classes_groups_and_membership() -> None:
    images = np.zeros((4, 2, 2, 3), dtype=np.uint8)
    base = ImageSet(images, np.array([0, 1, 0, 1]), ("a", "b"), tuple("wxyz"))
    digests = ["p", "q", "r", "s"]

    def of(data: ImageSet, pixels: list[str]) -> str:
        return fingerprint([data] * 4, [pixels] * 4)

    renamed = ImageSet(images, base.targets, base.labels, tuple("1234"))
    assert of(base, digests) == of(renamed, digests)
    others = [
        of(base, ["p", "q", "r", "t"]),
        of(base, ["q", "p", "r", "s"]),
        of(ImageSet(images, np.array([0, 1, 1, 1]), base.labels), digests),
        of(ImageSet(images, base.targets, ("a", "c")), digests),
        of(ImageSet(images, base.targets, base.labels, groups=np.arange(4)), digests),
        fingerprint([base.take(np.arange(3)), base, base, base], [digests[:3], *[digests] * 3]),
    ]
    assert len({of(base, digests), *others}) == 7
