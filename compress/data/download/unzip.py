"""TrashNet's zip to train/ and test/: five shots in a row show one object and stay together."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compress.data.splits import hold_out
from compress.errors import CompressError, InputError

_PHOTO = re.compile(r"(?:^|/)([A-Za-z]+)/\1(\d+)\.jpg$")  # dataset-resized/glass/glass12.jpg
_BLOCK = 5
_TEST, _SEED = 0.2, 0


def unpack(path: Path, folder: Path, *, ours: bool = False) -> Iterator[str]:
    """Write the photos of the zip at ``path`` to ``folder``/train/CLASS and test/CLASS; yields lines to show.

    Photo n of a class belongs to block (n - 1) // 5; a fifth of each class's blocks goes to test, the same
    ones every time. Photos that are there with the right size are left alone.

    Args:
        ours: the zip was downloaded, so that it may be deleted and fetched again.

    Raises:
        InputError: no photos called as TrashNet's are, or a zip of the user's own that is none or damaged.
        CompressError: a download that is none or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            photos = [
                (match[1], int(match[2]), info)
                for info in sorted(archive.infolist(), key=lambda info: info.filename)
                if not info.filename.startswith("__MACOSX") and (match := _PHOTO.search(info.filename))
            ]
            if not photos:
                raise InputError(f"{path}: no photos called CLASS/CLASSnumber.jpg; not TrashNet's zip")
            labels = sorted({label for label, _, _ in photos})
            targets = np.array([labels.index(label) for label, _, _ in photos])
            blocks = np.array([(number - 1) // _BLOCK for _, number, _ in photos])
            _, held = hold_out(targets, _TEST, _SEED, blocks * len(labels) + targets)
            in_test = np.zeros(len(photos), dtype=bool)
            in_test[held] = True
            for (label, number, info), test in zip(photos, in_test.tolist(), strict=True):
                file = folder / ("test" if test else "train") / label / f"{label}{number}.jpg"
                if not file.is_file() or file.stat().st_size != info.file_size:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    scratch = file.with_name(f".{file.name}.part")
                    scratch.write_bytes(archive.read(info))  # checks its CRC
                    os.replace(scratch, file)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        if ours:
            raise CompressError(f"{path}: damaged ({error}); delete it and run again") from error
        fault = f"damaged ({error})" if zipfile.is_zipfile(path) else "not a zip"
        raise InputError(f"{path}: {fault}; give TrashNet's zip, dataset-resized.zip") from error
    yield f"{len(photos) - len(held)} photos in {folder}/train, {len(held)} in test: {', '.join(labels)}"
