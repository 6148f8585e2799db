"""What this processor can do, as far as nets trained for it and exported on it must agree on it."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path


def weight_top() -> int:
    """The largest level of an int8 weight that is exported here, and of one that trains as int8 here.

    x86 without VNNI adds products of 8 bits in 16 and saturates: its weights get 7 bits, in -64 to 64.
    """
    flags = cpu_flags()
    x86 = platform.machine() in ("x86_64", "AMD64")
    lacks_vnni = x86 and bool(flags) and not flags & {"avx512_vnni", "avx_vnni"}
    return 64 if lacks_vnni else 127


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets as Linux names them; empty elsewhere."""
    for key, value in cpuinfo():
        if key in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def cpuinfo() -> list[tuple[str, str]]:
    """Names and values of ``/proc/cpuinfo``, core after core; empty elsewhere than on Linux."""
    if not sys.platform.startswith("linux"):
        return []
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [(k.strip(), v.strip()) for k, _, v in (line.partition(":") for line in lines) if v]
