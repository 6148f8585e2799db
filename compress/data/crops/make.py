"""COCO boxes to a classification set: which boxes, which split, which file; then the files.

A crop is called IMAGE_ANNOTATION.jpg by its ids, so ``group: {pattern: '^(\\d+)_', across_classes: true}``
keeps the crops of one photo together when training splits again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.data.bars import bar, cores
from compress.data.crops.boxes import Boxes, Floats, rivals
from compress.data.crops.coco import read_boxes
from compress.data.crops.sources import drop_outdated
from compress.data.crops.spec import CropSpec
from compress.data.crops.table import Made, Row, write_table
from compress.data.crops.write import Job, Outcome, cut
from compress.data.splits import hold_out
from compress.errors import CompressError, InputError
from compress.outputs import check_output

SPLITS = ("train", "val", "test")
MANIFEST, SETTINGS = "manifest.csv", "crops.json"


@dataclass(frozen=True)
class Plan:
    """What is to become of every box, before a photo is opened.

    Attributes:
        boxes: all of them.
        corners: float64 N x 4, cut at the edges of the image.
        labels: class of each box, "" for a dropped category.
        reasons: "" for a box to cut out, else why not (see ``plan_crops``).
        details: more on the reason.
        splits, files: where a crop goes, "" for a dropped box; files are relative to the set's folder.
    """

    boxes: Boxes
    corners: Floats
    labels: NDArray[np.object_]
    reasons: NDArray[np.object_]
    details: NDArray[np.object_]
    splits: NDArray[np.object_]
    files: NDArray[np.object_]


def plan_crops(boxes: Boxes, spec: CropSpec) -> Plan:
    """Judge every box and deal the photos out.

    A box has the first reason that holds, in this order; only boxes with none meet in ``overlap``:
    ``category`` is to be dropped; ``crowd``; ``empty``: no box, or of no area; ``outside`` the image;
    ``small``: under ``min_side``; ``aspect``: over ``max_aspect``; ``overlap``: pushed out by another box.

    Raises:
        InputError: a category without a place.
    """
    label_of = spec.class_of(boxes.categories)
    labels = np.array([label_of[boxes.categories[c]] or "" for c in boxes.category.tolist()], dtype=object)
    corners = boxes.corners()
    with np.errstate(invalid="ignore"):
        sides = corners[:, 2:] - corners[:, :2]
        short, long = sides.min(axis=1), sides.max(axis=1)
        tests = {
            "category": labels == "",
            "crowd": boxes.crowd,
            "empty": ~np.isfinite(boxes.xywh).all(axis=1) | ~(boxes.xywh[:, 2:] > 0).all(axis=1),
            "outside": ~(short > 0),
            "small": short < spec.min_side,
            "aspect": long > short * (np.inf if spec.max_aspect is None else spec.max_aspect),
        }
    reasons = np.full(len(boxes), "", dtype=object)
    details = np.full(len(boxes), "", dtype=object)
    for reason, hit in tests.items():
        reasons[hit & (reasons == "")] = reason
    if spec.iou is not None:
        left = np.flatnonzero(reasons == "")
        pushed = rivals(corners[left], boxes.photo[left], boxes.ids[left], spec.iou, spec.keep == "larger")
        for row, rival in zip(left[pushed >= 0].tolist(), left[pushed[pushed >= 0]].tolist(), strict=True):
            reasons[row], details[row] = "overlap", f"with annotation {boxes.ids[rival]}"
    kept = np.flatnonzero(reasons == "")
    splits = np.full(len(boxes), "", dtype=object)
    splits[kept] = _dealt(labels[kept], boxes.photo[kept], spec)
    return Plan(boxes, corners, labels, reasons, details, splits, _files(boxes, labels, splits, kept))


def make_crops(
    annotations: Path,
    images: Path,
    out: Path,
    spec: CropSpec | None = None,
    *,
    workers: int | None = None,
    progress: bool = False,
) -> Made:
    """Cut every box of a COCO file that ``spec`` keeps out of its photo, into ``out``/SPLIT/CLASS/.

    Again with the same settings it does what is missing: crops that are not there, are not whole, are older
    than their photo, or were cut from one of another size or time. ``manifest.csv`` lists every
    box, ``crops.json`` the settings.

    Args:
        annotations: the COCO file.
        images: the folder its file names are relative to.
        out: the folder to write; it may hold other things than train/, val/ and test/.
        workers: threads; as many as there are cores when left out.
        progress: draw a bar on stderr.

    Raises:
        InputError: a file or folder that is not there, a category without a place, or ``out`` holds a set
            that was made otherwise. Photos that cannot be used raise nothing here: see ``Made``.
        CompressError: another run is writing to ``out``.
    """
    from filelock import FileLock, Timeout

    check_output(out, "OUT", folder=True)
    spec = spec or CropSpec()
    if not images.is_dir():
        raise InputError(f"{images}: no such folder; give the one that the annotations' file names are in")
    plan = plan_crops(read_boxes(annotations), spec)
    _some_photo(plan, annotations, images)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".crops.lock", timeout=0):
            _claim(out, annotations, spec)
            jobs = _jobs(plan, out)
            drop_outdated(out, _photos(plan, jobs, images))
            made = _made(
                plan, _run(jobs, plan, images, spec, workers, progress), out, len(jobs), spec.max_bad
            )
            write_table(out / MANIFEST, made.rows)
    except Timeout as error:
        raise CompressError(f"{out}: another run is writing there; wait for it to end") from error
    return made


def _some_photo(plan: Plan, annotations: Path, images: Path) -> None:
    """Raise InputError where not one photo with a box to cut out is there: it is the wrong folder."""
    names = [plan.boxes.photos[i].name for i in np.unique(plan.boxes.photo[plan.reasons == ""]).tolist()]
    if names and not any((images / name).exists() for name in names):
        raise InputError(
            f"{images}: none of the {len(names)} files of {annotations} is below it, e.g. {names[0]}; "
            "give the folder that its file names are in"
        )


def _dealt(labels: NDArray[np.object_], photo: NDArray[np.int64], spec: CropSpec) -> NDArray[np.object_]:
    """The split of each crop: stratified by class, photos whole."""
    split = np.full(len(labels), "train", dtype=object)
    targets = np.unique(labels.astype(str), return_inverse=True)[1]
    rest = np.arange(len(labels))
    left = 1.0
    for name, part in (("test", spec.split.test), ("val", spec.split.val)):
        if part and len(rest):
            keep, held = hold_out(targets[rest], part / left, spec.split.seed, photo[rest])
            split[rest[held]] = name
            rest, left = rest[keep], left - part
    return split


def _files(
    boxes: Boxes, labels: NDArray[np.object_], splits: NDArray[np.object_], kept: NDArray[np.int64]
) -> NDArray[np.object_]:
    files = np.full(len(boxes), "", dtype=object)
    taken: dict[str, int] = {}
    for row in kept.tolist():
        stem = f"{boxes.photos[boxes.photo[row]].id:06d}_{boxes.ids[row]:06d}"
        taken[stem] = taken.get(stem, 0) + 1
        again = f"_{taken[stem]}" if taken[stem] > 1 else ""  # an annotation id given twice in one image
        files[row] = f"{splits[row]}/{labels[row]}/{stem}{again}.jpg"
    return files


def _claim(out: Path, annotations: Path, spec: CropSpec) -> None:
    """Write down what ``out`` is made of, or see that it is the same."""
    with open(annotations, "rb") as file:
        content = hashlib.sha256(file.read()).hexdigest()
    now = {"annotations": content, **spec.canonical()}
    del now["max_bad"]  # says what is reported, not what is made
    path = out / SETTINGS
    there = [name for name in SPLITS if (out / name).exists()]
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if there:
            raise InputError(f"{out}: has {there[0]}/ that was not made here; name a new folder") from None
        before = None
    except ValueError as error:
        raise InputError(f"{path}: damaged; delete the folder, or name a new one") from error
    if there and before != now:
        odd = [k for k in now if not isinstance(before, dict) or before.get(k) != now[k]] or ["keys"]
        raise InputError(f"{out}: made with other {', '.join(odd)}; delete the folder, or name a new one")
    if before != now:  # nor is there a crop of other settings that these would be mixed with
        scratch = out / f".{SETTINGS}.part"
        scratch.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        os.replace(scratch, path)


def _jobs(plan: Plan, out: Path) -> dict[int, list[Job]]:
    """The crops to cut, by photo."""
    jobs: dict[int, list[Job]] = {}
    for row in np.flatnonzero(plan.reasons == "").tolist():
        left, top, right, bottom = plan.corners[row].tolist()
        job = Job(row, (left, top, right, bottom), out / plan.files[row])
        jobs.setdefault(int(plan.boxes.photo[row]), []).append(job)
    return jobs


def _photos(plan: Plan, jobs: dict[int, list[Job]], images: Path) -> Iterator[tuple[str, Path, list[Job]]]:
    """Name, file and crops of each photo, in the photos' order."""
    for photo, some in sorted(jobs.items()):
        name = plan.boxes.photos[photo].name
        yield name, images / name, some


def _run(
    jobs: dict[int, list[Job]],
    plan: Plan,
    images: Path,
    spec: CropSpec,
    workers: int | None,
    progress: bool,
) -> Iterator[Outcome]:
    """The outcome of every crop; only a few photos per worker are under way, so memory does not grow."""
    workers = workers or cores()
    waiting: deque[Future[list[Outcome]]] = deque()
    pool = ThreadPoolExecutor(workers)  # Pillow lets go of the interpreter's lock while it works
    with bar("photos", len(jobs), progress) as step:
        try:
            for photo, some in sorted(jobs.items()):
                if len(waiting) >= 2 * workers:
                    yield from waiting.popleft().result()
                    step(1)
                image = plan.boxes.photos[photo]
                waiting.append(pool.submit(cut, image, images / image.name, some, spec))
            while waiting:
                yield from waiting.popleft().result()
                step(1)
        finally:
            pool.shutdown(cancel_futures=True)


def _made(plan: Plan, outcomes: Iterator[Outcome], out: Path, photos: int, max_bad: float) -> Made:
    """The plan with what became of it, in the order of photos and annotations."""
    became = {outcome.row: outcome for outcome in outcomes}
    boxes = plan.boxes
    number = np.array([photo.id for photo in boxes.photos], dtype=np.int64)[boxes.photo]
    rows = []
    for row in np.lexsort((np.arange(len(boxes)), boxes.ids, number)).tolist():
        photo, now = boxes.photos[boxes.photo[row]], became.get(row)
        reason, detail = (plan.reasons[row], plan.details[row]) if now is None else (now.reason, now.detail)
        x, y, width, height = boxes.xywh[row].tolist()
        rows.append(
            Row(
                photo.id,
                photo.name,
                int(boxes.ids[row]),
                boxes.categories[boxes.category[row]],
                plan.labels[row],
                x,
                y,
                width,
                height,
                "" if reason else plan.splits[row],
                "" if reason else plan.files[row],
                reason,
                detail,
            )
        )
    return Made(out, tuple(rows), sum(outcome.wrote for outcome in became.values()), photos, max_bad)
