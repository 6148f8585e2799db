"""The store: whole entries or none, and keys that follow the code."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import nn

from compress.net import Net, Preprocess
from compress.store import Store, source_digest, write_text


def _net(width: int = 4) -> Net:
    module = nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))
    return Net(module.eval(), Preprocess(16), ("a", "b"))


def test_a_net_comes_back_with_its_structure(tmp_path: Path) -> None:
    store, net = Store(tmp_path), _net(5)
    assert store.net("k") is None
    store.put_net("k", net)
    back = store.net("k")
    assert back is not None
    assert back.labels == ("a", "b")
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(back.module(x), net.module(x))


def test_storing_a_net_drops_its_unfinished_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.work("k") / "epoch.pt").write_text("half")
    store.put_net("k", _net())
    assert not (tmp_path / "work" / "k").exists()


def test_a_damaged_value_counts_as_absent(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_value("plans", "k", {"a": 1})
    assert store.value("plans", "k") == {"a": 1}
    (tmp_path / "plans" / "k.json").write_text('{"a": ')
    assert store.value("plans", "k") is None


def test_no_partial_file_stays_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_value("plans", "k", [1])
    assert [p.name for p in (tmp_path / "plans").iterdir()] == ["k.json"]


def test_text_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "report.md").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "report.md", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["report.md"]


def test_what_utf8_cannot_hold_is_written_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "a.md", os.fsdecode("é ".encode() + b"caf\xe9"))
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == r"é caf\udce9"


def test_who_waits_for_another_says_so_once(tmp_path: Path) -> None:
    store, lines, said = Store(tmp_path), list[str](), Event()

    def log(line: str) -> None:
        lines.append(line)
        said.set()

    def waiting() -> bool:
        with store.lock("k", log=log) as held:
            return held

    with ThreadPoolExecutor(1) as pool:
        with store.lock("k", log=log):
            assert not lines
            with store.lock("k", wait=False, log=log) as held:
                assert not held
            assert not lines
            waiter = pool.submit(waiting)
            assert said.wait(30)
            assert not waiter.done()
        assert waiter.result(30)
    assert lines == ["another process is computing what this one needs: waiting for it"]


def test_the_source_digest_follows_the_modules_a_stage_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_stage.py").write_text("def f():\n    from compress.ops import fold\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    source_digest.cache_clear()
    before = source_digest("their_stage")
    assert before == source_digest("their_stage")

    import compress.ops.fold as fold

    other = tmp_path / "fold.py"
    other.write_text(Path(fold.__file__ or "").read_text() + "\n# changed\n")
    monkeypatch.setattr(sys.modules["compress.ops.fold"], "__file__", str(other))
    source_digest.cache_clear()
    assert source_digest("their_stage") != before  # imported inside a function, and still seen

    (tmp_path / "their_stage.py").write_text("def f():\n    return 1\n")
    source_digest.cache_clear()
    assert source_digest("their_stage") not in (before,)
    source_digest.cache_clear()


def test_other_packages_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package/__init__.py").write_text("")
    (tmp_path / "their_package/stage.py").write_text("from their_package import maths\nimport bomb\n")
    (tmp_path / "their_package/maths.py").write_text("x = 1\n")
    (tmp_path / "bomb.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = source_digest("their_package.stage")
    (tmp_path / "their_package/maths.py").write_text("x = 2\n")
    source_digest.cache_clear()
    assert source_digest("their_package.stage") != before
    source_digest.cache_clear()


def test_an_empty_beyondnas_store_is_none_and_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEYONDNAS_STORE", "")
    assert Store().root == Path("runs/.store")
