"""Checkpoints: written whole or not at all, and taken up again only by the training they belong to."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.spec import digest

if TYPE_CHECKING:
    from torch import nn

    from compress.data.images import ImageSet

NAME = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> Path:
    """Write ``state`` to ``folder/checkpoint.pt`` under a temporary name, then rename."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    temporary = folder / f"{NAME}.{os.getpid()}.tmp"
    try:
        torch.save(state, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load(folder: Path, fingerprint: str, log: Callable[[str], None]) -> dict[str, Any] | None:
    """The checkpoint in ``folder`` if it is of the training ``fingerprint`` names, else None, saying why."""
    import torch

    path = folder / NAME
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        log(f"{path} cannot be read ({str(error).splitlines()[0]}): training starts afresh")
        return None
    if state.get("fingerprint") != fingerprint:
        log(f"{path} belongs to another training: training starts afresh")
        return None
    return state


def fingerprint(model: nn.Module, data: ImageSet, *settings: Any) -> str:
    """Digest of the start weights, the data and the settings: equal means the same training."""
    weights = hashlib.sha256()
    for name, value in model.state_dict().items():
        weights.update(f"{name} {tuple(value.shape)}".encode())
        weights.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest(weights.hexdigest(), data_digest(data), *settings)


def data_digest(data: ImageSet) -> str:
    """Digest of all targets and of up to 256 images spread over the set (fast for a mapped one too)."""
    h = hashlib.sha256(repr((data.images.shape, data.labels)).encode())
    h.update(data.targets.tobytes())
    for i in range(0, len(data), max(1, len(data) // 256)):
        h.update(data.images[i].tobytes())
    return h.hexdigest()
