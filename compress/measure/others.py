"""What other processes do meanwhile: the cores they keep busy, what the hypervisor takes, who they are."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

_SCRIPTS = {".py", ".sh", ".js", ".rb", ".pl", ".jar"}
_VISIBLE = 0.05  # of a core: what less than this is not worth a word


@dataclass(frozen=True)
class Process:
    """One of the others; ``cores`` is how many it keeps busy."""

    pid: int
    name: str
    cores: float

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}) {self.cores:.0%}"


class Others:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), _busy_s(), time.process_time()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start[0]

    def cores(self) -> float:
        """Cores that other processes have kept busy since, on average over the whole machine."""
        began, busy, own = self._start
        wall = max(time.perf_counter() - began, 1e-3)
        others = (_busy_s() - busy) - (time.process_time() - own)
        return float(min(max(others / wall, 0.0), os.cpu_count() or 1))


def stolen_s(cores: Sequence[int]) -> float:
    """Seconds the hypervisor has kept ``cores`` from this machine since it started; 0 where unknown."""
    import psutil

    times = psutil.cpu_times(percpu=True)
    return float(sum(getattr(times[core], "steal", 0.0) for core in cores if core < len(times)))


def busiest(seconds: float = 0.2, most: int = 3) -> list[Process]:
    """The other processes that take the most CPU over the next ``seconds``, of those visible from here."""
    before, began = _cpu_s(), time.perf_counter()
    time.sleep(seconds)
    after, wall = _cpu_s(), time.perf_counter() - began
    found = [
        Process(pid, name, (used - before[pid][1]) / wall)
        for pid, (name, used) in after.items()
        if pid in before and pid != os.getpid()
    ]
    found = sorted((one for one in found if one.cores >= _VISIBLE), key=lambda one: -one.cores)[:most]
    return [replace(one, name=_with_script(one)) for one in found]


def _with_script(one: Process) -> str:
    """An interpreter's name says little: what it runs is said too."""
    import psutil

    with suppress(psutil.Error, OSError):
        words = psutil.Process(one.pid).cmdline()[1:]
        script = next((Path(word).name for word in words if Path(word).suffix in _SCRIPTS), None)
        return f"{one.name} {script}" if script else one.name
    return one.name


def _busy_s() -> float:
    """CPU time of all processes together; what the hypervisor took is not theirs."""
    import psutil

    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user and nice too
    return float(sum(times) - idle - guests)


def _cpu_s() -> dict[int, tuple[str, float]]:
    import psutil

    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it ended since, or is not ours to look at
            times = process.cpu_times()
            found[process.pid] = process.name(), times.user + times.system
    return found
