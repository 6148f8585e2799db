"""Public data sets from their sources, licences shown first."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

from compress.data.bars import bar
from compress.data.download.http import DownloadError, Remote, get, get_all, session, there
from compress.data.download.unzip import unpack
from compress.data.notes import few
from compress.data.scan import litter
from compress.errors import CompressError, InputError


@dataclass(frozen=True)
class Source:
    """Where a data set's one file of its own lies, as its publisher states it.

    Attributes:
        url: the file, of one fixed version.
        sha256, size: of it; None where another address is given.
        out: the folder it goes to unless another is given.
        licence: lines to show before anything is fetched.
    """

    name: str
    url: str
    file: str
    out: str
    licence: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None


TACO = Source(
    "taco",
    # the last commit that changed the file
    "https://raw.githubusercontent.com/pedropro/TACO/508da019a19be9ebcdacf164e2152444e57cd12c/data/annotations.json",
    "annotations.json",
    "data/taco-photos",
    (
        "TACO, Trash Annotations in Context (Proença and Simões 2020, arXiv 2003.06975): the annotations are "
        "under CC BY 4.0 (doi.org/10.5281/zenodo.3242156), the repository's code is under MIT.",
        "The photos are their photographers', most of them on Flickr, each under its own licence; what the "
        "annotation file says of it follows. Where it names none, see the photo's page before passing it on.",
    ),
    "ac1ec605c9e1fcda767970de3457c69b4a43b62c02aca8c4c80f51d1b5ae8449",
    3_022_022,
)
TRASHNET = Source(
    "trashnet",
    "https://huggingface.co/datasets/garythung/trashnet/resolve/94cd17ebfd6702bf62281d3c89f22ff649815b46/dataset-resized.zip",
    "dataset-resized.zip",
    "data/trashnet",
    ("TrashNet (Gary Thung and Mindy Yang 2016): MIT licence; cite github.com/garythung/trashnet.",),
    "c060e8abfe5d6de0578ca15be1ed8ad0794a865d333c3473d53d1d9ad6e38b8c",
    42_834_870,
)
SIZES = ("original", "640")
SETTINGS = "download.json"


def fetch(
    name: str,
    out: Path | None = None,
    *,
    source: str | None = None,
    size: str = "original",
    workers: int = 8,
    progress: bool = False,
) -> Iterator[str]:
    """Get a data set; yields lines to show, the licences before the first byte is fetched.

    Again, it gets what is missing. ``download.json`` in the folder says what was asked for, so that photos of
    another size or source do not count as had.

    Args:
        name: taco or trashnet.
        source: another address, or a file, in place of TACO's annotation file or TrashNet's zip.
        size: of TACO's photos: original, or 640 for Flickr's copies of at most 640 px where it has them.
        workers: files at a time.
        progress: draw a bar on stderr.

    Raises:
        InputError: no such data set or size, a source that is not what it should be, or a folder that holds
            what was asked for otherwise.
        CompressError: something could not be had; what came stays, and the same call goes on from there.
    """
    found = {"taco": TACO, "trashnet": TRASHNET}.get(name)
    if found is None:
        raise InputError(f"unknown data set, found {name!r}; must be taco or trashnet")
    if size not in SIZES or (size != "original" and name != "taco"):
        raise InputError(f"--size: found {size!r}; must be {' or '.join(SIZES)}, and only taco has two")
    folder = out or Path(found.out)
    _claim(folder, {"name": name, "size": size, "source": _lasting(source)})
    yield from found.licence
    file = _own_file(found, folder, source, progress)
    if name == "taco":
        yield from taco_photos(file, folder, size, workers, progress)
    else:
        yield from unpack(file, folder, ours=source is None or "://" in source)


def _lasting(source: str | None) -> str | None:
    """A source as it is written down: an address as it is, a file by its whole path."""
    if source is None or "://" in source:
        return source
    if not Path(source).is_file():
        raise InputError(f"--source {source}: no such file, and no address (https://...)")
    return str(Path(source).resolve())


def _claim(folder: Path, now: dict[str, str | None]) -> None:
    """Write down what is asked for, or see that ``folder`` holds what was asked for in the same way.

    What fills a folder without such a file, as older versions made them, nobody can tell: it stays without.
    """
    path = folder / SETTINGS
    filled = folder.is_dir() and any(p.name != SETTINGS and not litter(p.name) for p in folder.iterdir())
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if filled:
            return
        before = {}
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise InputError(f"{path}: damaged; name another folder")
    odd = [key for key in now if before.get(key) != now[key]]
    if odd and filled:
        held, wanted = (", ".join(_said(key, asked.get(key)) for key in odd) for asked in (before, now))
        told = f"{folder}: fetched with {held}, now asked for with {wanted}"
        raise InputError(f"{told}; name another folder")
    if odd:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{SETTINGS}.part"
        scratch.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        os.replace(scratch, path)


def _said(key: str, value: object) -> str:
    """One setting as it is given to the command."""
    if key == "name":
        return str(value)
    return f"--{key} {value}" if value else f"no --{key}"


def _own_file(found: Source, folder: Path, source: str | None, progress: bool) -> Path:
    """The annotation file or zip: in ``folder``, or where ``source`` says that it lies."""
    remote = Remote(found.url, folder / found.file, found.sha256, found.size)
    if source is not None and "://" not in source:
        return Path(source)
    if source is not None:  # nothing is known of what lies there
        remote = Remote(source, folder / (PurePosixPath(urlsplit(source).path).name or found.file))
    if not there(remote):
        with bar(remote.path.name, remote.size or 0, progress) as step:
            try:
                get(session(), remote, step)
            except DownloadError as error:
                raise CompressError(f"{remote.url}: {error}") from error
    return remote.path


def taco_photos(annotations: Path, folder: Path, size: str, workers: int, progress: bool) -> Iterator[str]:
    """Get the photos that a TACO annotation file names, into ``folder``; yields lines to show.

    Raises:
        InputError: it is no such file, or names a place outside of ``folder``.
        CompressError: some photos could not be had; a line was yielded for each.
    """
    images, names = _images(annotations)
    licences = Counter(_licence(image.get("license"), names) for image in images)
    yield "licences of the photos: " + ", ".join(f"{name} {n}" for name, n in licences.most_common())
    files, without = [], []
    for image in images:
        urls = [image.get(key) for key in ("flickr_640_url", "flickr_url")[size == "original" :]]
        url = next((u for u in urls if isinstance(u, str) and u.startswith(("http://", "https://"))), None)
        if url is None:
            without.append(folder / image["file_name"])
        else:
            files.append(Remote(url, folder / image["file_name"], photo=True))
    with bar("photos", len(files), progress) as step:
        failed = get_all(files, workers, step)
    failed |= dict.fromkeys(without, "no address in the annotation file")
    urls_of = {file.path: file.url for file in files}
    for path, why in failed.items():
        yield f"failed {path}: {why} ({urls_of.get(path, 'no address')})"
    yield f"{len(images) - len(failed)} of {len(images)} photos are in {folder}"
    if failed:
        raise CompressError(
            f"{len(failed)} of {len(images)} photos could not be had: {few((p.name for p in failed), 5)}; "
            "the same command tries these again"
        )


def _images(annotations: Path) -> tuple[list[dict[str, Any]], dict[Any, str]]:
    """The images of the file, and the names of its licences by id."""
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        images = list(content["images"])
        names = [image["file_name"] for image in images]
        licences = {one["id"]: str(one["name"]) for one in content.get("licenses") or []}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{annotations}: not TACO's annotation file ({type(error).__name__})") from error
    odd = [repr(name) for name in names if not _inside(name)]
    if odd:
        raise InputError(f"{annotations}: names files outside of its folder: {few(odd)}")
    return images, licences


def _licence(stated: Any, names: dict[Any, str]) -> str:
    """TACO's file states it by name; COCO's have the id of one in ``licenses``."""
    if stated is None or stated == "":
        return "none named"
    return names.get(stated, str(stated)) if isinstance(stated, int | str) else str(stated)


def _inside(name: object) -> bool:
    """Whether a file name that somebody else wrote stays below a folder, on any system."""
    if not isinstance(name, str) or not name:
        return False
    windows = PureWindowsPath(name)
    parts = {*PurePosixPath(name).parts, *windows.parts}
    return not (windows.drive or windows.root or PurePosixPath(name).is_absolute() or ".." in parts)
