"""Labels that look wrong: confident learning on a cross-validated probe (Northcutt et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FOLDS = 5
_COMPONENTS = 256
_PART = 0.9  # of the mean probability of a class's own photos: its confident threshold
_C = 8.0  # of the probe, by the photos it learns from: strong, for features are about as many as they


@dataclass(frozen=True)
class Suspect:
    """A photo whose label is probably wrong.

    Attributes:
        row: of the features given.
        label, looks_like: class indices, as given and as the probe has it.
        own, other: the probe's probability of each.
    """

    row: int
    label: int
    looks_like: int
    own: float
    other: float


@dataclass(frozen=True)
class LabelCheck:
    """What the probe, which never saw the photo it judges, says of the labels.

    Attributes:
        accuracy: of the probe: how far to trust it. chance: of always naming the largest class.
        matrix: counts, rows the labels as given, columns what the probe says.
        suspects: most probably wrong first.
        checked: photos judged. left_out: classes with fewer than FOLDS photos (or groups of them).
    """

    accuracy: float
    chance: float
    matrix: tuple[tuple[int, ...], ...]
    suspects: tuple[Suspect, ...]
    checked: int
    left_out: tuple[int, ...] = ()


def check_labels(
    features: np.ndarray, targets: np.ndarray, classes: int, groups: np.ndarray, seed: int = 0
) -> LabelCheck | None:
    """Judge every label by a logistic regression trained on the other folds.

    A photo is suspect when the probe gives another class at least nine tenths of the mean probability that
    this class's own photos get (its confident threshold; with the whole of it, half of the typical ones would
    be missed), and more than the class it is labelled as.

    Args:
        features: float N x D.
        targets: int N, class indices below ``classes``.
        groups: int N; near-duplicates share a number and are judged together, never by each other.
        seed: of the folds.

    Returns:
        None when fewer than two classes have enough photos.
    """
    owned = [len(np.unique(groups[targets == c])) for c in range(classes)]
    judged = [c for c in range(classes) if owned[c] >= FOLDS]
    rows = np.flatnonzero(np.isin(targets, judged))
    if len(judged) < 2:
        return None
    local = np.searchsorted(judged, targets[rows])
    probabilities = _out_of_fold(features[rows], local, groups[rows], seed)
    own = probabilities[np.arange(len(rows)), local]
    thresholds = _PART * np.array([own[local == c].mean() for c in range(len(judged))])
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    confident[np.arange(len(rows)), local] = 0
    other = confident.argmax(1)
    suspects = [
        Suspect(
            int(rows[i]), judged[local[i]], judged[other[i]], float(own[i]), float(confident[i, other[i]])
        )
        for i in np.flatnonzero(confident.max(1) > own).tolist()
    ]
    says = probabilities.argmax(1)
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (targets[rows], np.array(judged)[says]), 1)
    return LabelCheck(
        accuracy=float((says == local).mean()),
        chance=float(np.bincount(local).max() / len(rows)),
        matrix=tuple(tuple(row) for row in matrix.tolist()),
        suspects=tuple(sorted(suspects, key=lambda one: one.own - one.other)),
        checked=len(rows),
        left_out=tuple(c for c in range(classes) if owned[c] and c not in judged),
    )


def _out_of_fold(features: np.ndarray, targets: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Probabilities N x C of each row, by a probe that saw neither it nor its group."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    scaled = features - features.mean(0)
    scaled = scaled / max(1e-12, float(scaled.std(0).mean()))  # one scale for all: they share a unit
    components = min(_COMPONENTS, *scaled.shape)
    reduced = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(scaled)
    count = int(targets.max()) + 1
    out = np.zeros((len(targets), count))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, held in folds.split(reduced, targets, groups):
        probe = LogisticRegression(C=_C / len(train), max_iter=500).fit(reduced[train], targets[train])
        out[np.ix_(held, probe.classes_)] = probe.predict_proba(reduced[held])
    return out
