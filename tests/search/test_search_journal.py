"""A journal that a killed process left half a line in."""

from __future__ import annotations

from pathlib import Path

import pytest
from fast_objective import loop, study_spec

from search.journal import repair


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", b""),
        (b'{"a": 1}\n', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"b"', b'{"a": 1}\n'),
        (b'{"b": 2', b""),
        (b"x\n" + b"y" * 10_000, b"x\n"),
    ],
)
def test_half_a_line_is_cut_off(tmp_path: Path, left: bytes, kept: bytes) -> None:
    path = tmp_path / "journal.log"
    path.write_bytes(left)
    repair(path)
    assert path.read_bytes() == kept


def test_a_study_goes_on_behind_half_a_line(tmp_path: Path) -> None:
    spec = study_spec(storage="journal", trials=2)
    loop(spec, tmp_path).run()
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id')
    more = loop(spec.model_copy(update={"trials": 3}), tmp_path)
    more.run()
    assert [r.outcome for r in more.ledger.records()] == ["evaluated"] * 3
