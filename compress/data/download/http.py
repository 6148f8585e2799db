"""Files over HTTP: resumed where they broke off, checked, several at a time."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import CompressError

if TYPE_CHECKING:
    from requests import Response, Session

_RETRIES = 5  # of a request that fails, or is answered by one of these
_AGAIN = (429, 500, 502, 503, 504)
_LONGEST_WAIT = 120.0  # seconds, whatever Retry-After says
_SILENT = 12  # files without an answer, from the first one on, until it is the network's fault
_BREAKS = 5  # in a row without a byte gained
_TIMEOUT = (15.0, 60.0)  # to connect, and between two bytes
_CHUNK = 1 << 14  # as much as a broken connection may lose


class DownloadError(CompressError):
    """A file could not be had; the message says why, without its name."""


class NoAnswerError(DownloadError):
    """The server cannot be reached."""


class _BrokenOff(Exception):
    """The connection ended in mid-file."""


@dataclass(frozen=True)
class Remote:
    """A file to get.

    Attributes:
        url, path: from where, to where.
        sha256, size: as its source publishes them; None where it does not.
        photo: whether it must be a picture: a server that has lost one may send a page, or another picture.
    """

    url: str
    path: Path
    sha256: str | None = None
    size: int | None = None
    photo: bool = False


def get_all(
    files: Sequence[Remote], workers: int, step: Callable[[int], None] = lambda n: None
) -> dict[Path, str]:
    """Get ``files``, up to ``workers`` at a time; those that are there are left alone.

    Args:
        step: called with 1 after each file.

    Returns:
        Why each file that could not be had could not; the others are there and whole.

    Raises:
        NoAnswerError: the first files all find no server; waiting so long for each of the others is no use.
    """
    local = threading.local()

    def one(file: Remote) -> DownloadError | None:
        if not hasattr(local, "session"):
            local.session = session()  # requests promises nothing about a session in two threads
        try:
            get(local.session, file)
        except DownloadError as error:
            return error
        return None

    pool = ThreadPoolExecutor(workers)
    failed: dict[Path, str] = {}
    silent = True
    try:
        for i, (file, error) in enumerate(zip(files, pool.map(one, files), strict=True), start=1):
            silent = silent and isinstance(error, NoAnswerError)
            if silent and i == _SILENT:
                raise NoAnswerError(f"the first {i} files find no server: {error}")
            if error is not None:
                failed[file.path] = str(error)
            step(1)
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


def session() -> Session:
    """Tries again when the network or the server is busy, as late as a Retry-After asks for."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.response import BaseHTTPResponse
    from urllib3.util import Retry

    class Patient(Retry):
        def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
            seconds = super().get_retry_after(response)
            return None if seconds is None else min(seconds, _LONGEST_WAIT)

    again = Patient(
        total=_RETRIES,
        status_forcelist=_AGAIN,
        allowed_methods={"GET"},
        backoff_factor=0.5,
        raise_on_status=False,
    )
    made = requests.Session()
    made.headers["User-Agent"] = "beyondnas"
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(max_retries=again))
    return made


def get(session: Session, file: Remote, step: Callable[[int], None] = lambda n: None) -> bool:
    """Get one file, unless it is there: by its sha256 or size where they are known, else by its name.

    It is written beside its place and renamed when it is whole. What a killed run has left is gone on with,
    if the server still has the same version (If-Range).

    Args:
        step: called with the number of bytes that came.

    Returns:
        Whether anything was fetched.

    Raises:
        DownloadError: the server refuses, does not answer, breaks off again and again, or sends something
            else than it should.
    """
    if there(file):
        return False
    file.path.parent.mkdir(parents=True, exist_ok=True)
    part = file.path.with_name(f".{file.path.name}.part")
    breaks = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(session, file, part, step)
            break
        except _BrokenOff as error:
            gained = part.stat().st_size - before if part.exists() else 0
            breaks = 0 if gained > 0 else breaks + 1
            if breaks >= _BREAKS:
                raise DownloadError(f"the connection broke off {_BREAKS} times: {error}") from error
            time.sleep(0.5 * breaks)
    if why := wrong(part, file):
        _forget(part)
        raise DownloadError(why)
    os.replace(part, file.path)
    _version(part).unlink(missing_ok=True)
    return True


def there(file: Remote) -> bool:
    """Whether the file is in its place and is what its source publishes."""
    return file.path.is_file() and not wrong(file.path, file)


def wrong(path: Path, file: Remote) -> str:
    """What is wrong with the bytes at ``path``; "" when nothing is known to be."""
    size = path.stat().st_size
    if not size:
        return "the server sent an empty file"
    if file.size is not None and size != file.size:
        return f"{size} bytes came, its source says {file.size}"
    if file.sha256 is not None:
        with open(path, "rb") as content:
            digest = hashlib.sha256()
            while chunk := content.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != file.sha256:
            return f"wrong sha256 {digest.hexdigest()}, its source says {file.sha256}"
    return ""


def _receive(session: Session, file: Remote, part: Path, step: Callable[[int], None]) -> None:
    """One request, from where ``part`` ends."""
    from requests import RequestException

    version = _version(part).read_text() if _version(part).exists() else ""
    have = part.stat().st_size if version and part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        response = session.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT)
    except RequestException as error:
        raise NoAnswerError(_short(error)) from error
    with response:
        if response.status_code == 416:  # what is there is not part of what the server has now
            _forget(part)
            raise _BrokenOff("the file on the server has changed")
        _refuse(response, file)
        start, total = _extent(response)
        if start not in (0, have):
            _forget(part)
            raise _BrokenOff(f"bytes from {start} came, those from {have} were asked for")
        if not start:
            _remember(part, response)
        with open(part, "ab" if start else "wb") as out:
            try:
                for chunk in response.iter_content(_CHUNK):
                    out.write(chunk)
                    step(len(chunk))
            except RequestException as error:
                raise _BrokenOff(_short(error)) from error
    if total is not None and part.stat().st_size < total:
        raise _BrokenOff(f"{part.stat().st_size} of {total} bytes")


def _refuse(response: Response, file: Remote) -> None:
    if response.status_code not in (200, 206):
        raise DownloadError(f"{response.status_code} {response.reason}".strip())
    if file.photo:
        kind = response.headers.get("Content-Type", "image/")
        if not kind.startswith(("image/", "application/octet-stream")):
            raise DownloadError(f"no picture: the server sent {kind}")
        if response.history and "unavailable" in response.url.rsplit("/", 1)[-1]:
            raise DownloadError(f"the photo is gone: the server sent {response.url}")


def _extent(response: Response) -> tuple[int, int | None]:
    """Where the body starts in the file, and the size of the whole file if it is told."""
    if response.status_code == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = span.partition("-")[0]
        return int(start) if start.isdigit() else -1, int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _version(part: Path) -> Path:
    return part.with_suffix(".version")


def _remember(part: Path, response: Response) -> None:
    """What names this version of the file; without it a broken-off file is fetched from its start again."""
    tag = response.headers.get("ETag", "")
    name = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    if name:
        _version(part).write_text(name)
    else:
        _version(part).unlink(missing_ok=True)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version(part).unlink(missing_ok=True)


def _short(error: BaseException) -> str:
    """The innermost reason: requests and urllib3 wrap it several times over."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return str(reason if isinstance(reason, BaseException) else error)[:200] or type(error).__name__
