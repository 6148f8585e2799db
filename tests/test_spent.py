"""What a step took: counted over kills and pauses, stored with the work and once more measured."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from compress.spent import seconds, spending
from compress.store import Store


def killed(store: Store, left: float) -> None:
    """A process that wrote a checkpoint at the time ``left`` and was killed while it went on for nothing."""
    with spending(store, "key"):
        checkpoint = store.work("key") / "prune" / "checkpoint.pt"
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_text("half")
        os.utime(checkpoint, (left, left))
        raise KeyboardInterrupt


def test_what_killed_processes_did_counts_up_to_their_last_file(tmp_path: Path) -> None:
    store, now = Store(tmp_path), time.time()
    for left in (now + 100, now + 1000, 0):  # the last one found a checkpoint, and wrote none
        with pytest.raises(KeyboardInterrupt):
            killed(store, left)
        assert store.value("spent", "key") is None
    with spending(store, "key"):
        pass
    assert store.value("spent", "key") == pytest.approx(1100, abs=5)


def test_the_plan_the_work_and_the_measuring_add_up_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_value("spent", "plan", 10.0)
    store.put_value("spent", "key", 100.0)
    began = time.monotonic() - 1000
    took = seconds(store, "plan", "key", since=began, cached=True)  # killed while it was measured, and again
    assert took == pytest.approx(1110, abs=5)
    assert seconds(store, "plan", "key", since=time.monotonic(), cached=True) == took
    assert seconds(store, "plan", "key", since=time.monotonic(), cached=False) == pytest.approx(110, abs=5)
