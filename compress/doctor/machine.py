"""What the doctor looks at: cores and who is on them, clock, hypervisor, memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from compress.doctor.diagnosis import Finding
from compress.measure.exclusive import first_in_line
from compress.measure.machine import cpu_flags, machine
from compress.measure.others import Others, busiest, stolen_s

_LOOK_S = 1.0
_CPUS = Path("/sys/devices/system/cpu")


def machine_findings() -> Iterator[Finding]:
    """One after the other; takes about a second."""
    yield cpu()
    watch, stolen = Others(), stolen_s(range(os.cpu_count() or 1))
    who = busiest(_LOOK_S)
    busy, wall = watch.cores(), watch.seconds
    lost = (stolen_s(range(os.cpu_count() or 1)) - stolen) / wall
    yield load(busy, os.cpu_count() or 1, [str(one) for one in who])
    yield cores()
    yield priority()
    yield from quota()
    yield clock()
    yield hypervisor(lost)
    yield memory()


def cpu() -> Finding:
    flags = cpu_flags()
    sets = {
        "AVX2": "avx2" in flags,
        "AVX-512": "avx512f" in flags,
        "VNNI": bool(flags & {"avx512_vnni", "avx_vnni"}),
        "AMX": "amx_int8" in flags or "amx_tile" in flags,
        "dot product": "asimddp" in flags,
        "i8mm": "i8mm" in flags,
    }
    there = ", ".join(name for name, has in sets.items() if has)
    return Finding("CPU", f"{machine()['cpu']}; {there or 'instruction sets unknown here'}")


def load(busy: float, total: int, who: list[str]) -> Finding:
    """Others may use all but the core that is timed; on the last free ones they share caches and clock."""
    names = f": {', '.join(who)}" if who else ""
    found = f"other processes keep {busy:.1f} of {total} cores busy ({1 - busy / total:.0%} idle){names}"
    stop = "stop the other processes or wait for them to end"
    if total - busy < 0.75:
        return Finding("load", f"{found}; no core is free", "care", stop)
    if busy > 0.25 * total:
        return Finding("load", found, "care", stop)
    return Finding("load", found)


def cores() -> Finding:
    total = os.cpu_count() or 1
    if not hasattr(os, "sched_setaffinity"):
        found = f"{total}; this system cannot pin a process to a core"
        return Finding("cores", found, "care", "time on Linux where it matters")
    allowed = sorted(os.sched_getaffinity(0))
    smt = _read(_CPUS / "smt/active") == "1"
    which = f" ({', '.join(map(str, allowed))})" if len(allowed) < total else ""
    found = f"{len(allowed)} of {total} allowed{which}; timings are pinned"
    return Finding("cores", found + ("; two hyperthreads share a core" if smt else ""))


def priority() -> Finding:
    with first_in_line() as allowed:
        pass
    if allowed:
        return Finding("priority", "timings run before other processes (SCHED_RR)")
    return Finding("priority", "ordinary: as root, or with CAP_SYS_NICE, timings would go first")


def quota() -> Iterator[Finding]:
    """A container's share of CPU time: when it is used up, everything stands still for a while."""
    allowed = period = ""
    if (text := _read(Path("/sys/fs/cgroup/cpu.max"))) is not None:
        allowed, _, period = text.partition(" ")
    else:
        folder = Path("/sys/fs/cgroup/cpu")
        allowed, period = (_read(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    with suppress(ValueError, ZeroDivisionError):  # "max", or nothing there: no limit
        share = int(allowed) / int(period)
        if 0 < share < (os.cpu_count() or 1):
            found = f"this container may use {share:g} cores' time, then it is stopped for a while"
            yield Finding("quota", found, "care" if share < 1.5 else "ok", "raise the container's CPU limit")


def clock() -> Finding:
    """How the frequency is governed; ``powersave`` is also what drivers that govern by themselves say."""
    import psutil

    governors = sorted(
        {text for file in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor") if (text := _read(file))}
    )
    driver = _read(_CPUS / "cpu0/cpufreq/scaling_driver") or ""
    parts = [f"governor {', '.join(governors)} ({driver})" if governors else "governor not readable here"]
    if (turbo := _turbo()) is not None:
        parts.append(f"turbo {'on' if turbo else 'off'}")
    with suppress(OSError, RuntimeError, AttributeError):  # not every system tells, nor has every psutil it
        if (now := psutil.cpu_freq()) and now.current:
            parts.append(
                f"{now.current / 1000:.2f} GHz now" + (f" of {now.max / 1000:.2f}" if now.max else "")
            )
    found = ", ".join(parts)
    battery = getattr(psutil, "sensors_battery", lambda: None)()
    if battery is not None and battery.power_plugged is False:
        return Finding("clock", f"{found}, on battery", "care", "plug the machine in")
    if set(governors) & {"powersave", "ondemand", "conservative"} and "pstate" not in driver:
        return Finding("clock", found, "care", "set the governor to performance (cpupower frequency-set -g)")
    return Finding("clock", found)


def _turbo() -> bool | None:
    no_turbo, boost = _read(_CPUS / "intel_pstate/no_turbo"), _read(_CPUS / "cpufreq/boost")
    if no_turbo is not None:
        return no_turbo == "0"
    return None if boost is None else boost == "1"


def hypervisor(stolen: float) -> Finding:
    """``stolen``: cores' worth of time that went to other guests just now."""
    vendor = _read(Path("/sys/class/dmi/id/sys_vendor")) or _read(Path("/sys/hypervisor/type"))
    if "hypervisor" not in cpu_flags() and not stolen:
        return Finding("hypervisor", "none seen")
    found = (
        f"virtual machine{f' ({vendor})' if vendor else ''}, {stolen:.1%} of a core stolen by other guests"
    )
    if stolen > 0.02:
        return Finding("hypervisor", found, "care", "use a machine or instance of its own")
    return Finding("hypervisor", found)


def memory() -> Finding:
    import psutil

    now = psutil.virtual_memory()
    found = f"{now.available / 2**30:.1f} of {now.total / 2**30:.1f} GiB available"
    if now.available < 2**29 or now.available < 0.05 * now.total:
        return Finding(
            "memory", found, "care", "free some memory: what is swapped out is timed with its disk"
        )
    return Finding("memory", found)


def _read(file: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text().strip()
    return None
