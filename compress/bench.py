"""Times of exported models beside each other on this machine; without torch, so that the device can do it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from compress.errors import InputError
from compress.ratio import Ratio
from compress.spec import Spec

if TYPE_CHECKING:
    import numpy as np

    from compress.measure.latency import Timing
    from compress.runtimes.base import Artifact, Run, Runtime

_PHOTOS = 16  # of --data: as many as a timing goes through in turn


class Milliseconds(Spec):
    """Of one call, batch 1; ``n`` calls count."""

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
        load_ms: from a fresh process with Python and numpy loaded to the first answer.
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
    note: str
    load_ms: float
    memory_bytes: int | None
    bytes: int

    @property
    def ratio(self) -> Ratio:
        return Ratio(self.latency_ratio, *self.latency_ratio_interval)


class Bench(Spec):
    """One timing session: what ``bench --json`` prints and ``report --timing`` reads.

    Attributes:
        machine: see ``compress.measure.counters.machine``.
        images: ``random``, or how many photos.
        artifacts: the first one is the reference.
        warning: why these times are to be taken with care.
    """

    format: Literal["beyondnas-bench-1"] = "beyondnas-bench-1"
    machine: dict[str, Any]
    images: str
    artifacts: tuple[Timed, ...] = Field(min_length=1)
    warning: str | None


def bench(
    paths: Sequence[str | Path],
    *,
    data: str | Path | None = None,
    seconds: float | None = None,
    threads: int | None = None,
) -> Bench:
    """Time artifacts in turns in this process; load time and memory each in a process of its own.

    Args:
        paths: artifacts' folders; a run's folder stands for its ``baseline/`` and its ``artifact/``.
        data: a folder of photos, looked through as deep as it goes; random pixels without.
        seconds: about how long to time; 1.25 a model without.
        threads: instead of what each was exported for.

    Raises:
        InputError: no such artifact, a damaged one, a runtime that is not installed, no photos.
    """
    from compress.bench_cost import in_fresh_process
    from compress.measure.counters import machine
    from compress.measure.latency import Loads, interleaved

    models = {name: _open(folder, threads) for name, folder in _folders(paths).items()}
    photos = _photos(Path(data)) if data is not None else None
    images = {name: _images(artifact, photos) for name, (_, artifact) in models.items()}
    costs = {name: in_fresh_process(art.path, runtime.threads) for name, (runtime, art) in models.items()}
    timings = interleaved(
        {name: Loads(partial(_call, *models[name], images[name])) for name in models},
        reference=next(iter(models)),
        seconds=seconds,
        cores=max(runtime.threads for runtime, _ in models.values()),
    )
    return Bench(
        machine=machine(),
        images="random" if photos is None else f"{len(photos)} photos",
        artifacts=tuple(_timed(name, *models[name], timings[name], *costs[name]) for name in models),
        warning=next((t.warning for t in timings.values() if t.warning), None),
    )


def read_bench(file: str | Path) -> Bench:
    """What ``bench --json`` printed.

    Raises:
        InputError: no such file, or not one of ``bench --json``.
    """
    try:
        return Bench.model_validate(json.loads(Path(file).read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: not what `bench --json` prints: {where}: {first['msg']}") from error
    except ValueError as error:
        raise InputError(f"{file}: not what `bench --json` prints: {error}") from error


def _folders(paths: Sequence[str | Path]) -> dict[str, Path]:
    """Artifacts' folders by name; one that is given twice is timed twice."""
    from compress.runtimes.base import MANIFEST

    folders: dict[str, Path] = {}
    for given in map(Path, paths):
        inner = [given / name for name in ("baseline", "artifact")]
        run = not (given / MANIFEST).is_file() and all((one / MANIFEST).is_file() for one in inner)
        for folder in inner if run else [given]:
            name, count = str(folder), 1
            while name in folders:
                name, count = f"{folder} ({count + 1})", count + 1
            folders[name] = folder
    return folders


def _open(folder: Path, threads: int | None) -> tuple[Runtime, Artifact]:
    from compress.runtimes.kinds import open_artifact

    runtime, artifact = open_artifact(folder)
    return runtime.model_copy(update={"threads": threads}) if threads else runtime, artifact


def _photos(folder: Path) -> list[Path]:
    from compress.data.decode import BadImageError, decode

    if not folder.is_dir():
        raise InputError(f"--data {folder}: no such folder")
    found: list[Path] = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            decode(file, 8)
        except BadImageError:
            continue
        found.append(file)
        if len(found) == _PHOTOS:
            break
    if not found:
        raise InputError(f"--data {folder}: no photo there that can be read")
    return found


def _images(artifact: Artifact, photos: Sequence[Path] | None) -> list[np.ndarray]:
    """Inputs of batch 1."""
    import numpy as np

    meta = artifact.meta
    shape, dtype = meta["input"]["shape"], meta["input"]["dtype"]
    if photos is None:
        draw = np.random.default_rng(0)
        if dtype == "uint8":
            return [draw.integers(0, 256, (1, *shape), dtype=np.uint8)]
        return [draw.normal(size=(1, *shape)).astype(dtype)]
    if "preprocess" not in meta:
        raise InputError(f"{artifact.path}: a bare module takes no photos; leave --data out")
    from compress.data.decode import decode

    return [decode(photo, meta["preprocess"]["size"])[None] for photo in photos]


def _call(runtime: Runtime, artifact: Artifact, images: list[np.ndarray]) -> Callable[[], object]:
    run: Run = runtime.load(artifact, batch=1)
    turn = cycle([image.copy() for image in images])

    def call() -> object:
        return run(next(turn))

    vars(call).update(vars(run))  # a GPU's stream, which the clock looks for
    return call


def _timed(
    name: str, runtime: Runtime, artifact: Artifact, timing: Timing, load_ms: float, memory: int | None
) -> Timed:
    return Timed(
        name=name,
        content=artifact.content,
        runtime=runtime.kind,
        int8=artifact.meta["int8"],
        threads=runtime.threads,
        latency_ms=Milliseconds(median=timing.median_ms, p10=timing.p10_ms, p90=timing.p90_ms, n=timing.n),
        latency_ratio=timing.ratio.median,
        latency_ratio_interval=(timing.ratio.low, timing.ratio.high),
        note=timing.note,
        load_ms=load_ms,
        memory_bytes=memory,
        bytes=artifact.bytes,
    )
