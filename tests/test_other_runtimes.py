"""Times of the final net in every runtime: measured once, and again when the code of a runtime changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from compress import other_runtimes
from compress import store as stores
from compress.net import Net, Preprocess
from compress.other_runtimes import times_in_other_runtimes
from compress.runtimes.kinds import BY_KIND, installed
from compress.store import Store, source_digest

pytestmark = pytest.mark.usefixtures("in_a_hurry")


def tiny() -> Net:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    return Net(layers, Preprocess(8), tuple("abcd"))


def test_they_are_measured_once_for_a_net_and_a_number_of_threads(tmp_path: Path) -> None:
    store, net = Store(tmp_path), tiny()
    times = times_in_other_runtimes(net, "key", store)
    assert list(times) == [cls().kind for cls in installed()]
    assert all(times.values())
    (file,) = (tmp_path / "other_runtimes").iterdir()
    file.write_text(json.dumps({"torch": 7.0}))
    assert times_in_other_runtimes(net, "key", store) == {"torch": 7.0}
    assert times_in_other_runtimes(net, "key", store, threads=2) != {"torch": 7.0}
    assert len(list((tmp_path / "other_runtimes").iterdir())) == 2


def test_they_are_measured_again_when_the_code_of_a_runtime_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Net] = []

    def count(net: Net, *_: object) -> dict[str, float]:
        asked.append(net)
        return {"torch": float(len(asked))}

    monkeypatch.setattr(other_runtimes, "times_everywhere", count)
    monkeypatch.setattr(other_runtimes, "source_digest", source_digest.__wrapped__)  # files are read anew
    store, net, path_of = Store(tmp_path), tiny(), stores._source_path
    for _ in range(2):
        assert times_in_other_runtimes(net, "key", store) == {"torch": 1.0}
    for number, cls in enumerate(BY_KIND.values(), 2):
        path = path_of(cls.__module__)
        assert path is not None
        changed = tmp_path / path.name
        changed.write_text(path.read_text() + "# changed\n")
        paths = {cls.__module__: changed}
        monkeypatch.setattr(stores, "_source_path", lambda name, new=paths: new.get(name) or path_of(name))
        for _ in range(2):
            assert times_in_other_runtimes(net, "key", store) == {"torch": float(number)}
