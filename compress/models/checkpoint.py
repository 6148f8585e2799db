"""Nets on disk.

A net's file is a pickle, since pruned and decomposed modules have no code that builds them anew:
load files only from people you would run code from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import InputError

if TYPE_CHECKING:
    from compress.net import Net

FORMAT = "beyondnas-net"
VERSION = 1
NET_FILE = "net.pt"  # the net's name inside a folder
FLOAT_NET = (  # where it is, for a line that refuses an int8 one
    "the float net that it was made of (nets/KEY.pt in the store, KEY in its run's report.json at the step "
    "before quantize)"
)


def save_net(net: Net, path: Path) -> None:
    """Write ``net`` to the file ``path``: the whole file or nothing, at any kill."""
    import torch

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    content = {"format": FORMAT, "version": VERSION, "labels": list(net.labels), "net": net}
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_net(path: Path) -> Net:
    """The net in the file ``path``, or in ``net.pt`` of the folder ``path``, on the CPU in eval mode.

    Raises:
        InputError: no such file, not one of ours, of a later version, or made with code that is
            not here.
    """
    import torch

    file = find_net(path)
    try:
        # lists the classes a file would create, without creating any
        known = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        if "compress.net.Net" not in known:
            raise InputError(f"{file}: not a net that beyondnas wrote")
        content: Any = torch.load(file, map_location="cpu", weights_only=False)
    except InputError:
        raise
    except (ImportError, AttributeError) as error:
        raise InputError(f"{file}: made with code that is not installed here: {error}") from error
    except Exception as error:  # a damaged zip or pickle can raise anything
        raise InputError(f"{file}: not a net that beyondnas wrote, or damaged: {_line(error)}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{file}: not a net that beyondnas wrote")
    if content["version"] != VERSION:
        raise InputError(f"{file}: version {content['version']} of the format, this program reads {VERSION}")
    net: Net = content["net"]
    net.module.eval()
    return net


def find_net(path: Path) -> Path:
    """The file itself, or ``net.pt`` in a folder."""
    file = path / NET_FILE if path.is_dir() else path
    if not file.is_file():
        what = f"no {NET_FILE} in this folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what}; expected a net that beyondnas wrote")
    return file


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
