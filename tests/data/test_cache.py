"""The cache of decoded photos among processes: together, killed, out of date, out of use."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.data.cache import arranged, cache_root, decoded
from compress.data.decode import decode
from compress.store import default_root

Make = Callable[..., Path]

# Decodes slowly enough that the other process comes in between; says what it did on one line.
WORKER = """
import sys, time
from pathlib import Path
import compress.data.cache as cache
real = cache.decoder
def slow(how):
    decode = real(how)
    def one(path, size):
        time.sleep(float(sys.argv[2]))
        return decode(path, size)
    return one
cache.decoder = slow
root = Path(sys.argv[1])
names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.jpg"))
lines = []
found = cache.decoded(root, names, 16, lines.append)
print(int(found.images.sum(dtype="int64")), [line.split(" in ")[0] for line in lines])
"""


def start(root: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(root), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names_in(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*.jpg"))


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def quiet(line: str) -> None:
    pass


def test_of_two_processes_at_once_one_decodes_and_both_read_the_same(make_folder: Make, cache: Path) -> None:
    root = make_folder(train={"a": 20})
    both = [start(root, 0.05), start(root, 0.05)]
    said = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    sums, lines = zip(*(out.split(" ", 1) for out, _ in said), strict=True)
    want = sum(int(decode(root / name, 16).sum(dtype="int64")) for name in names_in(root))
    assert [int(one) for one in sums] == [want, want]
    assert sum("decoded 20 files" in one for one in lines) == 1
    assert len(list(cache.glob("*/images.npy"))) == 1
    assert not list(cache.glob(".part-*"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_writer_leaves_nothing_that_counts(make_folder: Make, cache: Path) -> None:
    root = make_folder(train={"a": 30})
    writer = start(root, 0.5)
    wait_for(lambda: list(cache.glob(".part-*/*/images.npy")))
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=30)
    assert not list(cache.glob("*/files.json"))  # glob's * leaves dot files out
    lines: list[str] = []
    found = decoded(root, names_in(root), 16, lines.append)
    assert len(lines) == 1, lines  # the lock went with the process: nothing was waited for
    assert (found.images[7] == decode(root / names_in(root)[7], 16)).all()

    (left,) = cache.glob(".part-*")
    os.utime(left, (1, 1))  # as if a day had passed
    decoded(root, names_in(root), 17, quiet)
    assert not list(cache.glob(".part-*"))


def test_a_process_that_waits_says_so(make_folder: Make, cache: Path) -> None:
    root = make_folder(train={"a": 20})
    writer = start(root, 0.1)
    wait_for(lambda: list(cache.glob(".part-*/*/images.npy")))
    lines: list[str] = []
    found = decoded(root, names_in(root), 16, lines.append)
    assert writer.wait(timeout=60) == 0
    assert lines == ["another process is decoding these photos: waiting for it"]
    assert (found.images[3] == decode(root / names_in(root)[3], 16)).all()


def test_an_entry_is_found_until_a_file_changes(make_folder: Make, cache: Path) -> None:
    root = make_folder(train={"a": 4})
    names = names_in(root)
    lines: list[str] = []
    decoded(root, names, 16, lines.append)
    decoded(root, names, 16, lines.append)
    assert len(lines) == 1
    (root / names[2]).write_bytes((root / names[0]).read_bytes())
    found = decoded(root, names, 16, lines.append)
    assert len(lines) == 2
    assert (found.images[2] == found.images[0]).all()
    decoded(root, names[:3], 16, lines.append)  # another list of files is another entry
    assert len(lines) == 3


def unreadable(file: Path, error: BaseException) -> Callable[..., Any]:
    """``Image.open`` on a disk that fails for one file."""
    real = Image.open

    def opening(source: Any, *args: Any, **options: Any) -> Any:
        if source == file:
            raise error
        return real(source, *args, **options)

    return opening


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_a_file_that_could_not_be_read_once_is_tried_again(
    error: BaseException, reason: str, make_folder: Make, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(train={"a": 4})
    names = names_in(root)
    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", unreadable(root / names[2], error))
        first = decoded(root, names, 16, lines.append)
        assert first.reasons == ("", "", reason, "")
        assert not first.images[2].any()
        assert decoded(root, names, 16, lines.append).reasons == first.reasons
        assert len(lines) == 1  # the others are not decoded anew because of it
    second = decoded(root, names, 16, lines.append)
    assert second.reasons == ("",) * 4
    assert [line.split(" in ")[0] for line in lines] == [
        "decoded 4 files to 16 x 16",
        "decoded 1 files to 16 x 16",
    ]
    for row, name in enumerate(names):
        assert (second.images[row] == decode(root / name, 16)).all()
    assert [a == b for a, b in zip(first.digests, second.digests, strict=True)] == [True, True, False, True]
    decoded(root, names, 16, lines.append)
    assert len(lines) == 2
    assert len(list(cache.glob("*/images.npy"))) == 1
    assert not list(cache.glob(".part-*"))


def test_a_damaged_file_is_not_tried_again(
    make_folder: Make, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(train={"a": 3})
    names = names_in(root)
    (root / names[0]).write_bytes((root / names[0]).read_bytes()[:-150])
    (root / names[1]).write_text("no photo")
    first = decoded(root, names, 16, quiet)
    assert "truncated" in first.reasons[0]
    asked: list[object] = []
    monkeypatch.setattr(Image, "open", lambda *args, **options: asked.append(args))
    assert decoded(root, names, 16, quiet).reasons == first.reasons
    assert asked == []


def test_entries_out_of_use_go_when_a_new_one_is_made(make_folder: Make, cache: Path) -> None:
    root = make_folder(train={"a": 3})
    names = names_in(root)
    old, used = decoded(root, names, 16, quiet), decoded(root, names, 17, quiet)
    other = cache / "0123456789abcdef0123"  # not ours: no files.json in it
    other.mkdir()
    a_while_ago = time.time() - 40 * 86_400
    for folder in (old.folder, used.folder, other):
        os.utime(folder, (a_while_ago, a_while_ago))
    decoded(root, names, 17, quiet)  # reading counts as use
    decoded(root, names, 18, quiet)
    assert not old.folder.exists()
    assert used.folder.exists()
    assert other.exists()
    assert (old.images[1] == decode(root / names[1], 16)).all()  # who has it mapped can go on


def test_rows_in_another_order_are_made_once(make_folder: Make, cache: Path) -> None:
    root = make_folder(train={"a": 9})
    source = decoded(root, names_in(root), 16, quiet)
    index = np.array([5, 0, 7, 5])
    rows = arranged(source, index)
    assert (rows == source.images[index]).all()
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    before = sorted(cache.rglob("*.npy"))
    assert (arranged(source, index) == rows).all()
    assert sorted(cache.rglob("*.npy")) == before


def test_photos_are_kept_in_the_store_unless_they_have_a_folder_of_their_own(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEYONDNAS_STORE", str(tmp_path / "store"))
    assert cache_root() == cache
    monkeypatch.delenv("BEYONDNAS_CACHE")
    assert cache_root() == default_root() / "data" == tmp_path / "store" / "data"
    monkeypatch.delenv("BEYONDNAS_STORE")
    assert cache_root() == default_root() / "data" == Path("runs/.store/data")
