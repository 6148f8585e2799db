"""What a photo set's facts come to, in sentences: what to mend first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compress.data.eda.facts import Eda
from compress.data.notes import few

_FEWER, _SMALL, _SQUEEZED = 3.0, 30, 1.2
_WEAK = 0.15  # accuracy above chance below which the probe says nothing


@dataclass(frozen=True)
class Finding:
    """One sentence or two. ``mend``: it spoils training or scores. ``section``: where the page shows it."""

    text: str
    section: str
    mend: bool = False


def findings(eda: Eda) -> list[Finding]:
    """What to mend, then what to know."""
    found = [*_files(eda), *_duplicates(eda), *_labels(eda), *_classes(eda), *_sizes(eda)]
    return sorted(found, key=lambda one: not one.mend)


def _files(eda: Eda) -> Iterator[Finding]:
    if bad := eda.bad:
        names = few((f"{p.name} ({p.bad})" for p in bad), 3)
        yield Finding(f"{_count(len(bad), 'file')} cannot be read: {names}.", "files", mend=True)
    if eda.stray:
        yield Finding(
            f"{_count(len(eda.stray), 'file')} outside class folders: {few(eda.stray, 3)}.", "files"
        )
    kinds = Counter(
        note for photo in eda.odd for note in photo.notes if ":" not in note and "times" not in note
    )
    for note, count in kinds.most_common(5):
        yield Finding(f"{_count(count, 'photo')}: {note}.", "files")


def _duplicates(eda: Eda) -> Iterator[Finding]:
    for split, count in eda.leaked.items():
        if count:
            have = "has" if count == 1 else "have"
            yield Finding(
                f"{_count(count, 'photo')} of {split} {have} a near-duplicate in train: F1 on {split} "
                "flatters. Keep them in one split, or remove one.",
                "duplicates",
                mend=True,
            )
    two = [group for group in eda.groups if len(eda.labels_of(group)) > 1]
    if two:
        example = " and ".join(eda.photos[i].name for i in two[0].photos[:2])
        yield Finding(
            f"{_count(len(two), 'group')} of near-duplicates {'carries' if len(two) == 1 else 'carry'} more "
            f"than one label, e.g. {example}: at least one is wrong.",
            "duplicates",
            mend=True,
        )
    inside = sum(len(eda.splits_of(group)) == 1 for group in eda.groups)
    if inside:
        yield Finding(f"{_count(inside, 'group')} of near-duplicates within one split.", "duplicates")


def _labels(eda: Eda) -> Iterator[Finding]:
    check = eda.labels
    if check is None:
        yield Finding("Labels were not checked: two classes with five photos each are needed.", "labels")
        return
    trust = (
        f"a probe that gets {100 * check.accuracy:.0f} % of them right (chance: {100 * check.chance:.0f} %)"
    )
    if check.accuracy - check.chance < _WEAK:
        yield Finding(f"Labels could not be judged: {trust} tells the classes too badly apart.", "labels")
    elif check.suspects:
        first = check.suspects[0]
        yield Finding(
            f"{_count(len(check.suspects), 'label')} of {check.checked:,} look wrong to {trust}; first "
            f"{eda.photos[first.row].name}, which looks like {eda.classes[first.looks_like]}.",
            "labels",
            mend=True,
        )
    if check.left_out:
        names = few(eda.classes[c] for c in check.left_out)
        yield Finding(f"Labels of {names} were not checked: fewer than five photos.", "labels")


def _classes(eda: Eda) -> Iterator[Finding]:
    for split in eda.splits:
        counts = {label: row[split] for label, row in eda.counts.items()}
        if absent := [label for label, count in counts.items() if not count]:
            yield Finding(f"{split} has no photo of {few(absent)}.", "classes", split in ("train", "test"))
        if split in ("train", "all") and len(counts) > 1:
            most, least = max(counts, key=lambda c: counts[c]), min(counts, key=lambda c: counts[c])
            if counts[least] and counts[most] >= _FEWER * counts[least]:
                yield Finding(
                    f"{split} has {counts[most] / counts[least]:.1f} times as many photos of {most} "
                    f"({counts[most]:,}) as of {least} ({counts[least]:,}): train.loss class_balanced or "
                    "logit_adjusted may help.",
                    "classes",
                )
        small = [label for label, count in counts.items() if 0 < count < _SMALL]
        if split in ("val", "test") and small:
            count = min(counts[label] for label in small)
            yield Finding(
                f"{split} has fewer than {_SMALL} photos of {few(small)}: one photo is "
                f"{100 / count:.0f} points of recall there.",
                "classes",
            )


def _sizes(eda: Eda) -> Iterator[Finding]:
    readable = [photo for photo in eda.photos if not photo.bad]
    ratio = float(np.median([photo.ratio for photo in readable]))
    if max(ratio, 1 / ratio) >= _SQUEEZED:
        longer, shorter = ("wide", "high") if ratio > 1 else ("high", "wide")
        yield Finding(
            f"Half of the photos are {max(ratio, 1 / ratio):.2f} times as {longer} as {shorter} or more; "
            "training squeezes them to squares, or pads them (data.fit).",
            "sizes",
        )


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
