"""Times of exported models beside each other on this machine; without torch, so that the device can do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from compress.bench.result import Bench, Milliseconds, Timed
from compress.errors import InputError
from compress.folders import no_run

if TYPE_CHECKING:
    import numpy as np

    from compress.measure.endtoend import Kind
    from compress.measure.latency import Timing
    from compress.runtimes.base import Artifact, Runtime

    Model = tuple[Runtime, Artifact]
    Load = Callable[[], Callable[[], object]]

_PROCESSES = 3  # that load a model
_PHOTOS = 16  # of --data: as many as a timing goes through at once


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
        data: a folder of photos, looked through as deep as it goes: times from a photo's bytes to its label
            are taken, too. Without, random pixels.
        seconds: about how long to time; 1.25 a model and kind of time without.
        threads: instead of what each was exported for.

    Raises:
        InputError: no such artifact, a damaged one, a runtime that is not installed, no photos, a model that
            takes none.
    """
    from compress.measure.latency import Loads, interleaved
    from compress.measure.machine import machine

    models = {name: _open(folder, threads) for name, folder in _folders(paths).items()}
    photos = _photos(Path(data)) if data is not None else None
    kinds = _on_random(models) if photos is None else _on_photos(models, photos)
    costs = _costs(models)
    timings: dict[Kind, dict[str, Timing]] = {}
    for kind, loads in kinds.items():
        timings[kind] = interleaved(
            {name: Loads(load) for name, load in loads.items()},
            reference=next(iter(models)),
            seconds=seconds and seconds / len(kinds),
            cores=max(runtime.threads for runtime, _ in models.values()),
        )
    every = [timing for timed in timings.values() for timing in timed.values()]
    return Bench(
        machine=machine(),
        images="random" if photos is None else f"{len(photos)} photos",
        artifacts=tuple(
            _timed(name, models[name], {kind: timed[name] for kind, timed in timings.items()}, *costs[name])
            for name in models
        ),
        warning=next((timing.warning for timing in every if timing.warning), None),
    )


def _folders(paths: Sequence[str | Path]) -> dict[str, Path]:
    """Artifacts' folders by name; one that is given twice is timed twice."""
    from compress.runtimes.base import MANIFEST

    folders: dict[str, Path] = {}
    for given in map(Path, paths):
        inner = [given / name for name in ("baseline", "artifact")]
        run = not (given / MANIFEST).is_file() and all((one / MANIFEST).is_file() for one in inner)
        if not run and not (given / MANIFEST).is_file():
            raise InputError(no_run(given))
        for folder in inner if run else [given]:
            name, count = str(folder), 1
            while name in folders:
                name, count = f"{folder} ({count + 1})", count + 1
            folders[name] = folder
    return folders


def _open(folder: Path, threads: int | None) -> Model:
    from compress.runtimes.kinds import open_artifact

    runtime, artifact = open_artifact(folder)
    return runtime.model_copy(update={"threads": threads}) if threads else runtime, artifact


def _photos(folder: Path) -> list[bytes]:
    """Image files' bytes, spread over the folder and those below it."""
    from compress.data.decode import BadImageError, decode
    from compress.measure.endtoend import spread, timeable

    if not folder.is_dir():
        raise InputError(f"--data {folder}: no such folder")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    found: list[bytes] = []
    for i in dict.fromkeys([*spread(len(files), _PHOTOS), *range(len(files))]):
        photo = files[i].read_bytes()
        try:
            decode(photo, 8)
        except BadImageError:
            continue
        found.append(photo)
        if len(found) == _PHOTOS:
            break
    if not found:
        raise InputError(f"--data {folder}: no photo there that can be read")
    return timeable(found)


def _costs(models: Mapping[str, Model]) -> dict[str, tuple[float, int | None]]:
    """Milliseconds to load and bytes of memory of each: medians of processes in turns, as the first of all
    reads the runtime's library from the disk for the others."""
    from compress.bench.cost import in_fresh_process

    tries: dict[str, list[tuple[float, int | None]]] = {name: [] for name in models}
    for _ in range(_PROCESSES):
        for name, (runtime, artifact) in models.items():
            tries[name].append(in_fresh_process(artifact.path, runtime.threads))
    found = {}
    for name, each in tries.items():
        load_ms, memory = zip(*each, strict=True)
        found[name] = median(load_ms), None if None in memory else int(median(memory))
    return found


def _on_random(models: Mapping[str, Model]) -> dict[Kind, dict[str, Load]]:
    from compress.measure.sections import bound

    def load(runtime: Runtime, artifact: Artifact) -> Callable[[], object]:
        return bound(runtime.load(artifact, batch=1), _random(artifact))

    return {"model": {name: partial(load, *model) for name, model in models.items()}}


def _on_photos(models: Mapping[str, Model], photos: Sequence[bytes]) -> dict[Kind, dict[str, Load]]:
    from compress.measure.endtoend import KINDS, one_call
    from compress.predict import Predictor

    for _, artifact in models.values():
        if "preprocess" not in artifact.meta:
            raise InputError(f"{artifact.path}: a bare module takes no photos; leave --data out")
    whole = {name: Predictor(*model) for name, model in models.items()}
    return {
        kind: {name: partial(one_call, kind, model, photos) for name, model in whole.items()}
        for kind in KINDS
    }


def _random(artifact: Artifact) -> np.ndarray:
    """An input of batch 1."""
    import numpy as np

    takes, draw = artifact.meta["input"], np.random.default_rng(0)
    if takes["dtype"] == "uint8":
        return draw.integers(0, 256, (1, *takes["shape"]), dtype=np.uint8)
    made: np.ndarray = draw.normal(size=(1, *takes["shape"])).astype(takes["dtype"])
    return made


def _timed(
    name: str, model: Model, timings: Mapping[Kind, Timing], load_ms: float, memory: int | None
) -> Timed:
    runtime, artifact = model
    alone, whole = timings["model"], timings.get("end_to_end")
    return Timed(
        name=name,
        content=artifact.content,
        runtime=runtime.kind,
        int8=artifact.meta["int8"],
        threads=runtime.threads,
        latency_ms=_milliseconds(alone),
        latency_ratio=alone.ratio.median,
        latency_ratio_interval=(alone.ratio.low, alone.ratio.high),
        end_to_end_ms=_milliseconds(whole) if whole else None,
        end_to_end_ratio=whole.ratio.median if whole else None,
        end_to_end_ratio_interval=(whole.ratio.low, whole.ratio.high) if whole else None,
        note=alone.note,
        load_ms=load_ms,
        memory_bytes=memory,
        bytes=artifact.bytes,
    )


def _milliseconds(timing: Timing) -> Milliseconds:
    return Milliseconds(median=timing.median_ms, p10=timing.p10_ms, p90=timing.p90_ms, n=timing.n)
