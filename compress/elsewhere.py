"""The final model in every runtime installed here: an extra column, stored like every measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.measure.counters import machine
from compress.runtimes.auto import times_everywhere
from compress.spec import digest
from compress.store import Store

if TYPE_CHECKING:
    from compress.net import Net


def times_elsewhere(net: Net, key: str, store: Store, threads: int = 1) -> dict[str, float | None]:
    """Median milliseconds of one image by runtime kind; None where the runtime cannot run the net.

    ``key`` addresses the net; figures of this machine and these versions are stored under it.
    """
    facts = machine()
    asked = digest("elsewhere", key, threads, facts["id"], facts["versions"])
    times: dict[str, float | None] | None = store.value("elsewhere", asked)
    if times is None:
        times = times_everywhere(net, threads=threads)
        store.put_value("elsewhere", asked, times)
    return times
