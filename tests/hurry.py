"""Timing, but briefly: for tests that ask who is timed when and what becomes of it, not how precisely.

pytestmark = pytest.mark.usefixtures("in_a_hurry")    # the fixture is in conftest.py
python tests/hurry.py ARGS                            # the command line, in a hurry
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress import evaluate, scoring
from compress.measure import exclusive, latency
from compress.runtimes.torch_runtime import TorchRuntime

_interleaved, _open = latency.interleaved, TorchRuntime._open
_opened: dict[Any, Any] = {}


def hurry(set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Everything is still timed in turns: loaded once, for a tenth of a second.

    A file of torch.export is read once, too: that takes longer than all the rest of a small net's score. And
    nothing is collected before a timing: with torch and its compiler loaded that takes another fifth of a
    second.
    """
    for module in (latency, scoring, evaluate):
        set_attribute(module, "interleaved", _briefly)
    set_attribute(TorchRuntime, "_open", _open_once)
    set_attribute(exclusive, "_no_collector", _collector_at_rest)


def _briefly(runs: Any, **more: Any) -> Any:
    once = {k: replace(run, most=1) if isinstance(run, latency.Loads) else run for k, run in runs.items()}
    return _interleaved(once, **{**more, "seconds": 0.1, "min_blocks": 4})


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _open_once(self: TorchRuntime, file: Path, takes: dict[str, Any], batch: int | None) -> Any:
    key = (file.resolve(), file.stat().st_mtime_ns, self.threads)
    if key not in _opened:
        _opened[key] = _open(self, file, takes, batch)
    return _opened[key]


if __name__ == "__main__":
    from compress.__main__ import main

    hurry(setattr)
    sys.exit(main())
