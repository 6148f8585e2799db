"""The final model in every runtime installed here: an extra column, stored like every measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compress.measure.machine import machine
from compress.runtimes.auto import times_everywhere
from compress.spec import digest
from compress.store import Store, source_digest

if TYPE_CHECKING:
    from compress.net import Net

_IMAGES = 8


def times_in_other_runtimes(net: Net, key: str, store: Store, threads: int = 1) -> dict[str, float | None]:
    """Median milliseconds of one image by kind of the runtimes installed; None where one cannot run the net,
    or gives other logits than PyTorch.

    ``key`` addresses the net; the figures are stored under it, this machine, these versions and the
    code of the runtimes.
    """
    facts = machine()
    asked = digest("other_runtimes", key, threads, facts["id"], facts["versions"], source_digest(__name__))
    times: dict[str, float | None] | None = store.value("other_runtimes", asked)
    if times is None:
        size = net.preprocess.size
        noise = np.random.default_rng(0).integers(0, 256, (_IMAGES, size, size, 3), dtype=np.uint8)
        times = times_everywhere(net, noise, threads)
        store.put_value("other_runtimes", asked, times)
    return times
