"""One timing session of exported models as a file: what `bench --json` prints and `report --timing` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from compress.errors import InputError
from compress.ratio import Ratio
from compress.spec import Spec


class Milliseconds(Spec):
    """Of one image, batch 1; ``n`` calls count."""

    median: float
    p10: float
    p90: float
    n: int


class Timed(Spec):
    """One artifact.

    Attributes:
        name: the folder as it was given.
        content: digest of the model's files; equal for a run's artifact and its copy on a device.
        latency_ratio: paired time relative to the first artifact's, with its 95 % interval.
        end_to_end_ms: a photo's bytes to its label, the mean of the photos; None, as its ratio, without any.
        load_ms: from a fresh process with Python and numpy loaded to the first answer, files in the disk's
            cache.
        memory_bytes: peak of the resident memory of such a process while it loads and runs, less what it
            held before; the runtime's library counts. None where the system does not tell.
        bytes: size of the model's files.
    """

    name: str
    content: str
    runtime: str
    int8: bool
    threads: int
    latency_ms: Milliseconds
    latency_ratio: float
    latency_ratio_interval: tuple[float, float]
    end_to_end_ms: Milliseconds | None = None
    end_to_end_ratio: float | None = None
    end_to_end_ratio_interval: tuple[float, float] | None = None
    note: str
    load_ms: float
    memory_bytes: int | None
    bytes: int

    @property
    def ratio(self) -> Ratio:
        """Of the model's own time."""
        return Ratio(self.latency_ratio, *self.latency_ratio_interval)

    @property
    def whole(self) -> Ratio | None:
        """Of the time from a photo to its label."""
        if self.end_to_end_ratio is None or self.end_to_end_ratio_interval is None:
            return None
        return Ratio(self.end_to_end_ratio, *self.end_to_end_ratio_interval)


class Bench(Spec):
    """All artifacts, timed in turns on one machine.

    Attributes:
        machine: see ``compress.measure.machine.machine``.
        images: ``random``, or how many photos.
        artifacts: the first one is the reference.
        warning: why these times are to be taken with care.
    """

    format: Literal["beyondnas-bench-1"] = "beyondnas-bench-1"
    machine: dict[str, Any]
    images: str
    artifacts: tuple[Timed, ...] = Field(min_length=1)
    warning: str | None


def read_bench(file: str | Path) -> Bench:
    """What ``bench --json`` printed.

    Raises:
        InputError: no such file, or not one of ``bench --json``.
    """
    from compress.explain import validate
    from compress.yamlio import show

    wrong = f"{file}: not what `bench --json` prints"
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{wrong}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{wrong}: found a {type(content).__name__}, expected a mapping")
    made, problems, _ = validate(Bench, content)
    if made is None:
        raise InputError(f"{wrong}: {show(problems[0].path)}: {problems[0].text}")
    return made
