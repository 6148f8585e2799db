"""Photos decoded once and kept on disk, so that the second run starts at once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL

from compress.data.decode import BadImageError
from compress.data.fast import How, decoder, is_fast
from compress.data.scan import stat_of
from compress.errors import InputError
from compress.spec import digest

_VERSION = 1  # raise when decode() gives other pixels
_STALE_S = 86_400.0  # parts left by a killed process are removed after a day
_UNUSED_S = 30 * _STALE_S  # entries after a month without a reader


@dataclass(frozen=True)
class Decoded:
    """Every file of a folder, in the order asked for.

    Attributes:
        images: uint8 N x size x size x 3, memory-mapped read-only; rows of bad files are zero.
        digests: per file the hash of its pixels, or "" for a bad one.
        reasons: per file "" or why it is bad.
        folder: the cache entry, where derived arrays may be kept too.
        temporary: rows of bad files that may be read another time (``BadImageError.temporary``).
    """

    images: np.ndarray
    digests: tuple[str, ...]
    reasons: tuple[str, ...]
    folder: Path
    temporary: tuple[int, ...] = ()


def cache_root() -> Path:
    """``$BEYONDNAS_CACHE``, else ``data`` in the store: in ``$BEYONDNAS_STORE`` or ``runs/.store``."""
    store = os.environ.get("BEYONDNAS_STORE") or "runs/.store"  # compress.store, which has it too, lies above
    return Path(os.environ.get("BEYONDNAS_CACHE") or Path(store, "data"))


def decoded(
    root: Path, names: Sequence[str], size: int, log: Callable[[str], None], how: How = "reference"
) -> Decoded:
    """``names`` (relative to ``root``) at ``size``, from the cache or decoded into it, the way ``how`` says.

    An entry is found again while the files' names, sizes and times of change are the same; what it holds is
    identified by content (``digests``), wherever the folder lies. Of processes that want the same entry at
    once one decodes and the others wait; one that is killed leaves nothing that counts. Entries that nothing
    has read for a month are removed when a new one is made. Files that the system could not read for once
    (a disk's error, a permission, no memory) are tried again by the next call.

    Raises:
        InputError: the cache folder cannot be written.
    """
    stats = [stat_of(root / name) for name in names]
    files = [[n, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for n, s in zip(names, stats, strict=True)]
    way: list[str] = [] if how == "reference" else [how]
    if is_fast(how):
        way += [version("simplejpeg"), version("opencv-python-headless")]
    folder = cache_root() / digest(_VERSION, PIL.__version__, size, str(root.resolve()), files, *way)
    found = _read(folder, len(names), size)
    if found is None or _can_be_read_now(found, root, names, how):
        with _locked(folder, log):
            found = _read(folder, len(names), size)  # the process that had the lock may have made it
            if found is None or _can_be_read_now(found, root, names, how):
                with _writing(folder) as part:
                    _decode_into(part, root, names, size, log, how, found)
                found = _read(folder, len(names), size)
        assert found is not None, folder
    with suppress(OSError):  # of use: see _sweep
        os.utime(folder)
    return found


def arranged(source: Decoded, index: np.ndarray) -> np.ndarray:
    """``source.images[index]``, memory-mapped: contiguous rows on disk, made once for every ``index``."""
    path = source.folder / f"arranged-{hashlib.sha256(index.tobytes()).hexdigest()[:20]}.npy"
    if not path.exists():
        with _writing(path) as part:
            shape = (len(index), *source.images.shape[1:])
            rows = _new(part, shape)
            for start in range(0, len(index), 256):
                rows[start : start + 256] = source.images[index[start : start + 256]]
            rows.flush()
    images: np.ndarray = np.load(path, mmap_mode="r")
    return images


def derived(source: Decoded, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What ``make`` gives, kept beside the photos as ``name``: made once, whichever process comes first."""
    path = source.folder / f"derived-{name}.npy"
    if not path.exists():
        made = make()
        with _writing(path) as part, open(part, "wb") as file:
            np.save(file, made)
    array: np.ndarray = np.load(path)
    return array


def pixel_digest(image: np.ndarray) -> str:
    """Hash of one image's shape and uint8 pixels."""
    shape = repr(image.shape).encode()
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=shape).hexdigest()


def _read(folder: Path, count: int, size: int) -> Decoded | None:
    """The entry, or None when it is absent or damaged."""
    try:
        files = json.loads((folder / "files.json").read_text(encoding="utf-8"))
        images = np.load(folder / "images.npy", mmap_mode="r")
    except (OSError, ValueError):
        return None
    if images.shape != (count, size, size, 3) or len(files) != count:
        return None
    temporary = tuple(row for row, f in enumerate(files) if len(f) > 2 and f[2])  # older entries have two
    return Decoded(images, tuple(f[0] for f in files), tuple(f[1] for f in files), folder, temporary)


def _can_be_read_now(found: Decoded, root: Path, names: Sequence[str], how: How) -> bool:
    """Whether a file of the entry that could not be read for once is another case by now."""
    decode = decoder(how)
    scratch = np.empty_like(found.images[:1])
    return any(
        _decode_row(scratch, 0, root / names[row], decode) != ("", found.reasons[row], True)
        for row in found.temporary
    )


def _decode_into(
    part: Path,
    root: Path,
    names: Sequence[str],
    size: int,
    log: Callable[[str], None],
    how: How,
    known: Decoded | None,
) -> None:
    """A new entry at ``part``; of one that is ``known`` only the temporary rows are decoded again."""
    part.mkdir()
    decode = decoder(how)
    shape = (len(names), size, size, 3)
    images = _new(part / "images.npy", shape)
    rows: Sequence[int] = range(len(names))
    files = [("", "", False)] * len(names)
    if known is not None:
        images[:] = known.images
        rows = known.temporary
        files = [(pixels, why, False) for pixels, why in zip(known.digests, known.reasons, strict=True)]
    start = told = time.monotonic()
    pool = ThreadPoolExecutor(_cores())  # Pillow lets go of the interpreter's lock while it decodes
    try:
        results = pool.map(lambda row: _decode_row(images, row, root / names[row], decode), rows)
        for done, (row, result) in enumerate(zip(rows, results, strict=True), start=1):
            files[row] = result
            if time.monotonic() - told > 10:
                told = time.monotonic()
                log(f"decoded {done} of {len(rows)} files")
    finally:
        pool.shutdown(cancel_futures=True)
    images.flush()
    log(f"decoded {len(rows)} files to {size} x {size} in {time.monotonic() - start:.1f} s")
    (part / "files.json").write_text(json.dumps(files), encoding="utf-8")


def _decode_row(
    images: np.ndarray, row: int, path: Path, decode: Callable[[Path, int], np.ndarray]
) -> tuple[str, str, bool]:
    """What ``files.json`` has of a file: the digest of its pixels, why it is bad, whether that may pass."""
    try:
        images[row] = decode(path, images.shape[1])
    except BadImageError as error:
        return "", error.reason, error.temporary
    return pixel_digest(images[row]), "", False


def _new(path: Path, shape: tuple[int, ...]) -> np.memmap:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and would kill the process later
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@contextmanager
def _locked(folder: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Inside, no other process makes the entry ``folder``; the system frees the lock of a killed one."""
    from filelock import FileLock, Timeout

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log("another process is decoding these photos: waiting for it")
            lock.acquire()
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write a file or folder at; renamed to it when all went well."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
        try:
            part = scratch / target.name
            yield part
            if target.is_dir():  # damaged, or another process was first with the same content
                os.rename(target, scratch / "old")
            try:
                os.replace(part, target)
            except OSError:
                if not target.exists():
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise _unwritable(target.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write decoded photos to {folder} ({error.strerror or error}): "
        "free some space or point BEYONDNAS_CACHE to another folder"
    )


def _sweep(folder: Path) -> None:
    """Remove what killed processes left, and entries out of use; who still maps one keeps its pages."""
    for path in folder.iterdir():
        entry = re.fullmatch("[0-9a-f]{20}", path.name) and (path / "files.json").is_file()
        kept_s = _UNUSED_S if entry else _STALE_S if path.name.startswith(".part-") else None
        with suppress(FileNotFoundError):  # its owner was faster
            if kept_s is not None and time.time() - path.stat().st_mtime > kept_s:
                shutil.rmtree(path, ignore_errors=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
