"""What loading an exported model costs: time and memory, in a process that does nothing else.

``python -m compress.bench.cost FOLDER THREADS`` is that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from compress.errors import CompressError

_CALLS = 20


def in_fresh_process(folder: Path, threads: int) -> tuple[float, int | None]:
    """Milliseconds to the first answer and peak bytes, see ``compress.bench.result.Timed``.

    Raises:
        CompressError: the process failed; its last line.
    """
    command = [sys.executable, "-m", "compress.bench.cost", str(folder), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise CompressError(f"{folder}: cannot be run: {said[-1] if said else done.returncode}")
    load_ms, memory = json.loads(done.stdout.splitlines()[-1])
    return load_ms, memory


def measure(folder: Path, threads: int) -> tuple[float, int | None]:
    """The same in this process."""
    import numpy as np

    from compress.runtimes.kinds import open_artifact

    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began = _resident("VmRSS"), time.perf_counter()
    runtime, artifact = open_artifact(folder)
    runtime = runtime.model_copy(update={"threads": threads})
    run = runtime.load(artifact, batch=1)
    takes = artifact.meta["input"]
    image = np.zeros((1, *takes["shape"]), takes["dtype"])
    run(image)
    load_ms = 1e3 * (time.perf_counter() - began)
    for _ in range(_CALLS):
        run(image)
    peak = _resident("VmHWM")
    return load_ms, None if before is None or peak is None else peak - before


def _resident(field: str) -> int | None:
    """Bytes of memory now (VmRSS) or at most so far (VmHWM). Not of getrusage where it can be helped: on
    Linux its peak is that of the process that started this one, if that was larger."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))))
