"""What the doctor looks at: how threads wait, and the runtimes with their versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from compress.doctor.diagnosis import Finding
from compress.runtimes.kinds import RUNTIMES


def software_findings() -> Iterator[Finding]:
    """Threads, then one line for each runtime there is."""
    yield threads()
    for cls in RUNTIMES:
        kind = cls.model_fields["kind"].default
        runtime = cls(kind=kind)
        if (line := runtime.missing()) is not None:
            yield Finding(f"runtime {kind}", line, "absent")
            continue
        missing = runtime.missing(export=True)
        found = ", ".join(f"{package} {_version(package)}" for package in runtime.packages)
        yield Finding(f"runtime {kind}", found + (f"; to export with it: {missing}" if missing else ""))


def threads() -> Finding:
    """``compress`` itself asks for passive waiting where nothing else is asked for."""
    count, policy = os.environ.get("OMP_NUM_THREADS"), os.environ.get("OMP_WAIT_POLICY", "")
    found = (
        f"OMP_NUM_THREADS {count or 'not set'}, OMP_WAIT_POLICY {policy or 'not set'}; "
        f"Python {platform.python_version()}"
    )
    if policy.lower() == "passive":
        return Finding("threads", found)
    advice = "set OMP_WAIT_POLICY=passive: threads that spin while they wait take the cores of what is timed"
    return Finding("threads", found, "care", advice)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # under another name, as onnxruntime-gpu: rare, and slow to look up
        from importlib.metadata import packages_distributions

        names = packages_distributions().get(package, [])
        return version(names[0]) if names else "of unknown version"
