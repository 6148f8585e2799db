"""From an encoded image to its label, one at a time, as the competition timed it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from compress.data.decode import decode
from compress.data.images import ImageSet
from compress.measure.latency import interleaved


def encoded(data: ImageSet, root: Path | None, count: int = 16) -> list[bytes]:
    """``count`` images spread over ``data`` as files hold them; made-up sets are encoded as JPEG."""
    from PIL import Image

    picked = np.linspace(0, len(data) - 1, min(count, len(data))).astype(int)
    out = []
    for i in picked:
        file = root / data.names[i] if root is not None and data.names else None
        if file is not None and file.is_file():
            out.append(file.read_bytes())
            continue
        buffer = io.BytesIO()
        Image.fromarray(data.images[i]).save(buffer, "JPEG", quality=90)
        out.append(buffer.getvalue())
    return out


def end_to_end_ms(
    run: Callable[[np.ndarray], np.ndarray], size: int, images: Sequence[bytes], cores: int = 1
) -> float:
    """Median milliseconds of decode, resize to ``size`` and ``run`` (uint8 1 x H x W x 3 to logits).

    ``cores``: as many as ``run`` has threads.
    """
    turn = itertools.cycle(images)

    def one() -> int:
        return int(run(decode(next(turn), size)[None]).argmax())

    return interleaved({"one": one}, reference="one", seconds=0.6, cores=cores)["one"].median_ms
