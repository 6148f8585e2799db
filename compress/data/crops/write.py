"""One photo to its crops: opened once, each crop written whole or not at all."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from compress.data.crops.boxes import Photo
from compress.data.crops.spec import CropSpec
from compress.data.decode import TURNED, UPRIGHT, BadImageError, opened, orientation, rgb

Box = tuple[float, float, float, float]  # left, top, right, bottom
_START, _END = b"\xff\xd8", b"\xff\xd9"  # of a whole JPEG


@dataclass(frozen=True)
class Job:
    """A crop to write: the box as annotated, cut at the edges of the image, and the file."""

    row: int
    box: Box
    file: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a crop: ``reason`` is "" where its file is there now, ``detail`` says more."""

    row: int
    reason: str = ""
    detail: str = ""
    wrote: bool = False


@dataclass(frozen=True)
class Frame:
    """How annotated boxes lie in the pixels of a file.

    Attributes:
        raw: width and height of the pixels.
        orientation: EXIF's, by which the boxes are turned; 1 when they refer to the pixels as they lie.
        scale: pixels of the file by pixels of the annotation, in x and y of the annotation.
    """

    raw: tuple[int, int]
    orientation: int
    scale: tuple[float, float]

    def box(self, box: Box) -> Box:
        """An annotated box in the file's own pixels."""
        sx, sy = self.scale
        left, top, right, bottom = box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy
        width, height = self.raw
        if self.orientation in TURNED:
            left, top, right, bottom = top, left, bottom, right
        if self.orientation in (2, 3, 7, 8):
            left, right = width - right, width - left
        if self.orientation in (3, 4, 6, 7):
            top, bottom = height - bottom, height - top
        return left, top, right, bottom


def cut(photo: Photo, path: Path, jobs: Sequence[Job], spec: CropSpec) -> list[Outcome]:
    """Write the crops of one photo that are not there yet.

    A crop that is there is kept when its file is whole and not older than the photo's, even when the photo is
    gone. A photo that cannot be used is the reason of all its missing crops: ``missing`` (no such file),
    ``unreadable`` (truncated, or no image) or ``size`` (not of the annotation's shape). A crop of an older
    photo that the new one does not give is removed, so that what lies there is what the manifest lists.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        lost = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        return [Outcome(j.row) if _whole(j.file) else Outcome(j.row, "missing", lost) for j in jobs]
    there = [Outcome(job.row) for job in jobs if _whole(job.file, changed)]
    done = {outcome.row for outcome in there}
    jobs = [job for job in jobs if job.row not in done]
    if not jobs:
        return there
    try:
        with opened(path) as file:
            file.load()  # a TIFF turns itself here
            turned = orientation(file)
            image = file if file.mode == "RGB" and not file.has_transparency_data else rgb(file)
    except BadImageError as error:
        return there + [_dropped(job, "unreadable", error.reason) for job in jobs]
    frame = fit(photo, image.size, turned, spec)
    if frame is None:
        width, height = image.size
        odd = f"file {width} x {height}, orientation {turned}; annotation {photo.width} x {photo.height}"
        return there + [_dropped(job, "size", odd) for job in jobs]
    return there + [_write(job, image, turned, frame, spec) for job in jobs]


def fit(photo: Photo, raw: tuple[int, int], turned: int, spec: CropSpec) -> Frame | None:
    """How the annotation's width and height fit a file's, as it lies or as EXIF turns it; None if not.

    An exact fit comes before that of a smaller or larger copy (sides within a pixel of one factor), and
    the upright reading before the raw one.
    """
    swapped = (raw[1], raw[0]) if turned in TURNED else raw
    readings = [(turned if turned in UPRIGHT else 1, swapped), (1, raw)]
    readings = {"auto": readings, "upright": readings[:1], "raw": readings[1:]}[spec.orientation]
    for exact in (True, False):
        for how, (width, height) in readings:
            factor = 1.0 if exact else max(width, height) / max(photo.width, photo.height)
            gap = 0 if exact else 1
            if abs(photo.width * factor - width) <= gap and abs(photo.height * factor - height) <= gap:
                return Frame(raw, how, (width / photo.width, height / photo.height))
    return None


def pixels(box: Box, margin: float, raw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels around a box and its margin, at least one, cut at the edges of the image."""
    left, top, right, bottom = box
    dx, dy = margin * (right - left), margin * (bottom - top)
    x = min(max(0, math.floor(left - dx)), raw[0] - 1)
    y = min(max(0, math.floor(top - dy)), raw[1] - 1)
    return (
        x,
        y,
        max(min(raw[0], math.ceil(right + dx)), x + 1),
        max(min(raw[1], math.ceil(bottom + dy)), y + 1),
    )


def _dropped(job: Job, reason: str, detail: str) -> Outcome:
    job.file.unlink(missing_ok=True)
    return Outcome(job.row, reason, detail)


def _write(job: Job, image: Image.Image, turned: int, frame: Frame, spec: CropSpec) -> Outcome:
    box = frame.box(job.box)
    side = min(box[2] - box[0], box[3] - box[1])
    if frame.scale != (1.0, 1.0) and side < spec.min_side:
        return _dropped(job, "small", f"{side:.1f} px in the file")
    crop = image.crop(pixels(box, spec.margin, frame.raw))
    if turned in UPRIGHT:  # whatever the boxes refer to, the object is shown upright
        crop = crop.transpose(UPRIGHT[turned])
    if spec.square == "pad" and crop.width != crop.height:
        side = max(crop.size)
        canvas = Image.new("RGB", (side, side))
        canvas.paste(crop, ((side - crop.width) // 2, (side - crop.height) // 2))
        crop = canvas
    buffer = io.BytesIO()
    crop.save(buffer, "JPEG", quality=spec.quality)
    scratch = job.file.with_name(f".{job.file.name}.part")
    try:
        scratch.write_bytes(buffer.getvalue())
    except FileNotFoundError:  # the first crop of its class
        job.file.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(buffer.getvalue())
    os.replace(scratch, job.file)
    return Outcome(job.row, wrote=True)


def _whole(path: Path, not_before_ns: int = 0) -> bool:
    """Whether a JPEG file is there from its first to its last bytes, and not older than its photo."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mtime_ns < not_before_ns or file.read(2) != _START:
                return False
            file.seek(-2, os.SEEK_END)
            return file.read(2) == _END
    except OSError:
        return False
