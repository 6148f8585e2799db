"""Times of the final net in every runtime: measured once, and again when the code of a runtime changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from compress.net import Net, Preprocess
from compress.other_runtimes import times_in_other_runtimes
from compress.runtimes.kinds import installed
from compress.store import Store

pytestmark = pytest.mark.usefixtures("in_a_hurry")


def test_they_are_measured_once_for_a_net_and_a_number_of_threads(tmp_path: Path) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    store, net = Store(tmp_path), Net(layers, Preprocess(8), tuple("abcd"))
    times = times_in_other_runtimes(net, "key", store)
    assert list(times) == [cls().kind for cls in installed()]
    assert all(times.values())
    (file,) = (tmp_path / "other_runtimes").iterdir()
    file.write_text(json.dumps({"torch": 7.0}))
    assert times_in_other_runtimes(net, "key", store) == {"torch": 7.0}
    assert times_in_other_runtimes(net, "key", store, threads=2) != {"torch": 7.0}
    assert len(list((tmp_path / "other_runtimes").iterdir())) == 2
