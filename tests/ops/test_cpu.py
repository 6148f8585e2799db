"""How many levels int8 weights have on which processor."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from compress.measure import machine
from compress.ops import cpu


@pytest.mark.parametrize(
    ("arch", "flags", "top"),
    [
        ("x86_64", {"avx2", "fma"}, 64),
        ("AMD64", {"avx2", "avx512f"}, 64),
        ("x86_64", {"avx2", "avx512_vnni"}, 127),
        ("x86_64", {"avx2", "avx_vnni"}, 127),
        ("x86_64", set(), 127),  # nobody says what it can do
        ("aarch64", {"asimd"}, 127),
    ],
)
def test_seven_bits_where_sums_of_products_saturate(
    arch: str, flags: set[str], top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(cpu, "platform", SimpleNamespace(machine=lambda: arch))
    assert cpu.weight_top() == top


def test_machines_of_different_levels_have_different_ids() -> None:
    """By which what quantize measured, and all that is trained from there, is stored."""
    assert {"avx512_vnni", "avx_vnni"} <= set(machine._FLAGS)
    assert "arch" in machine.machine()
