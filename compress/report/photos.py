"""The test photos whose label changed for better or worse between baseline and final model."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from compress.data.images import ImageSet

FOLDER = "flips"
_MOST = 24  # photos kept of each direction
_SIDE = 112  # pixels of a thumbnail, at most


def flips(test: ImageSet, before: tuple[int, ...], after: tuple[int, ...], folder: Path) -> dict[str, Any]:
    """Thumbnails below ``folder/flips`` and what they show.

    Args:
        before, after: the class each model gave to each photo of ``test``.

    Returns:
        ``{"photos": n, "lost": {"count", "shown": [...]}, "won": {...}}``: right before and wrong after, and
        the reverse. At most 24 of each are kept, from every class in turn.
    """
    import numpy as np

    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    truth, old, new = test.targets, np.asarray(before), np.asarray(after)
    changed = {"lost": (old == truth) & (new != truth), "won": (old != truth) & (new == truth)}
    out: dict[str, Any] = {"photos": len(test)}
    for name, mask in changed.items():
        rows = np.flatnonzero(mask)
        shown = []
        for i in _spread(rows, truth):
            file = f"{FOLDER}/{name}-{i:06d}.{'png' if test.images.shape[1] <= 32 else 'jpg'}"
            _thumbnail(test.images[i], folder / file)
            classes = {"true": truth[i], "baseline": old[i], "final": new[i]}
            labels = {key: test.labels[int(c)] for key, c in classes.items()}
            shown.append({"file": file, "name": test.names[i] if test.names else str(i), **labels})
        out[name] = {"count": len(rows), "shown": shown}
    return out


def embedded(folder: Path, file: str) -> str | None:
    """A thumbnail as a data address, or None where it is gone."""
    from base64 import b64encode

    try:
        content = (folder / file).read_bytes()
    except OSError:
        return None
    return f"data:image/{'png' if file.endswith('png') else 'jpeg'};base64,{b64encode(content).decode()}"


def _spread(rows: np.ndarray, truth: np.ndarray) -> list[int]:
    """The rows to show, one of every class in turn."""
    by_class: dict[int, list[int]] = {}
    for i in rows.tolist():
        by_class.setdefault(int(truth[i]), []).append(i)
    turns = [(turn, c, i) for c, members in by_class.items() for turn, i in enumerate(members)]
    chosen = [(c, i) for _, c, i in sorted(turns)[:_MOST]]
    return [i for _, i in sorted(chosen)]


def _thumbnail(image: np.ndarray, file: Path) -> None:
    """As the models see it: squeezed to a square."""
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(image)
    photo.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    photo.save(out, "PNG" if file.suffix == ".png" else "JPEG", quality=82)
    file.write_bytes(out.getvalue())
