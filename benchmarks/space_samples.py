"""Random nets of each space in recipes/spaces: all build, run, export and agree with PyTorch.

Agree: no logit differs by more than a thousandth of the largest from what PyTorch gives in float64. In
float32 PyTorch's own are off by more than that in some of these nets, whose last layers divide by next to
nothing, as they have seen no training. A label can differ only where two logits are as close.

python benchmarks/space_samples.py [--space cpu --space quickstart] [--count 1000] [--exports 1000]
                                   [--runtime onnxruntime] [--jobs 1] [--out runs/space-samples]

Run it again to go on where it was stopped; nets that failed, and those that another space or other code made,
are tried again. An export takes seconds: --exports 30 for a quick look.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import torch
import typer

from compress import yamlio
from compress.data.digits import DigitsData
from compress.models import arch
from compress.net import Net, Preprocess
from compress.ops.batchnorm import reestimate
from compress.runtimes.auto import by_kind
from compress.runtimes.deploy import compare, export_net
from compress.spec import digest
from compress.store import source_digest
from search.candidate import Candidate
from search.sample import suggest
from search.space import Space

SPACES = Path(__file__).resolve().parents[1] / "recipes" / "spaces"
LABELS = tuple(map(str, range(10)))
IMAGES = 2  # compared
STATISTICS = 16  # of two, a batch norm behind the mean would divide by almost nothing


@cache
def photos(size: int) -> np.ndarray:
    """uint8 N x size x size x 3: real digits."""
    return DigitsData(image_size=size).load(0, log=lambda line: None).test.images[:STATISTICS]


def sample(space: Space, number: int) -> Candidate:
    """Net ``number`` of a space: the same on every machine."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    return suggest(space, study.ask(), classes=len(LABELS))


def built(candidate: Candidate, number: int) -> tuple[Net, np.ndarray]:
    """The net, with the batch-norm statistics of the photos, and its logits of them in float64."""
    torch.manual_seed(number)
    preprocess = Preprocess(candidate.image_size)
    module = arch.build(candidate.model)
    pixels = torch.from_numpy(photos(candidate.image_size)).permute(0, 3, 1, 2)
    reestimate(module, [preprocess.normalise(pixels)])
    net = Net(module.eval(), preprocess, LABELS)
    with torch.no_grad():
        exact = copy.deepcopy(net.module).double()(preprocess.normalise(pixels[:IMAGES]).double())
    logits = exact.numpy()
    if logits.shape != (IMAGES, len(LABELS)) or not np.isfinite(logits).all():
        raise ValueError(f"logits of shape {logits.shape}, {np.isnan(logits).sum()} of them NaN")
    return net, logits


def tried(space: Space, number: int, runtime: str | None) -> dict[str, Any]:
    """What became of one net: ``error`` is null when all went well."""
    began = time.perf_counter()
    row: dict[str, Any] = {"number": number, "runtime": runtime}
    try:
        candidate = sample(space, number)
        net, logits = built(candidate, number)
        row |= {"digest": candidate.digest, "params": sum(p.numel() for p in net.module.parameters())}
        if runtime is not None:
            chosen, images = by_kind(runtime)(kind=runtime), photos(candidate.image_size)[:IMAGES]
            with tempfile.TemporaryDirectory() as folder:
                artifact = export_net(net, chosen, Path(folder) / "net")
                found = compare(chosen, artifact, logits, images)
            row["difference"] = found.max_difference
            row["error"] = None if found.max_difference <= found.allowed else found.line
        else:
            row["error"] = None
    except Exception as error:  # whatever it is, it is what is counted
        row["error"] = f"{type(error).__name__}: {error}"
    return {**row, "seconds": round(time.perf_counter() - began, 2)}


def one_thread() -> None:
    """In each worker: the jobs share the cores, and their sums do not depend on how many there are."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """What was written before; a line cut off by a kill is left out."""
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def made_by(space: Space, runtime: str | None) -> str:
    """Digest of what a net's row follows from: the space, and the code that draws, builds and exports."""
    modules = ["search.sample", "compress.models.arch", "compress.ops.batchnorm", "compress.runtimes.deploy"]
    modules += [by_kind(runtime).__module__] if runtime is not None else []
    own = Path(__file__).read_text(encoding="utf-8")
    return digest(space.canonical(), own, *map(source_digest, modules))


def taken_up(file: Path, made: Mapping[str | None, str]) -> dict[tuple[int, str | None], dict[str, Any]]:
    """Rows of before that say what would be found now, by number and runtime.

    Args:
        made: by runtime, what rows of now are made by.
    """
    good = (row for row in rows(file) if row["runtime"] in made and not row["error"])
    return {(row["number"], row["runtime"]): row for row in good if row.get("by") == made[row["runtime"]]}


def main(
    space: Annotated[list[str] | None, typer.Option(help="All of recipes/spaces when left out.")] = None,
    count: int = 1000,
    exports: Annotated[int, typer.Option(help="Of them, this many are exported too.")] = 1000,
    runtime: str = "onnxruntime",
    jobs: Annotated[int, typer.Option(min=1, help="Nets tried at a time, a process each.")] = 1,
    out: Path = Path("runs/space-samples"),
) -> None:
    """Print, for each space, how many nets were drawn and how many failed at what; fail if any did."""
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in space or sorted(path.stem for path in SPACES.glob("*.yaml")):
        found = Space.model_validate(yamlio.read(SPACES / f"{name}.yaml")["space"])
        file = out / f"{name}.jsonl"
        made = {one: made_by(found, one) for one in (None, runtime)}
        known = taken_up(file, made)
        keys = [(number, runtime if number < exports else None) for number in range(count)]
        missing = [key for key in keys if key not in known]
        with ProcessPoolExecutor(jobs, get_context("spawn"), one_thread) as pool, file.open("a") as lines:
            running = {pool.submit(tried, found, *key): key for key in missing}
            for future in as_completed(running):
                key = running[future]
                row = known[key] = {**future.result(), "by": made[key[1]]}
                print("\n" + json.dumps(row), file=lines, end="", flush=True)  # see rows
        done = [known[key] for key in keys]
        wrong = [row for row in done if row["error"]]
        failed += len(wrong)
        print(
            f"{name}: {count} nets drawn, {len({row.get('digest') for row in done})} different; "
            f"{len(wrong)} failures; {sum(row['seconds'] for row in done) / count:.1f} s a net"
        )
        differences = [row["difference"] for row in done if row["runtime"] and not row["error"]]
        if differences:
            print(
                f"  {len(differences)} exported to {runtime}: they agree, logits differ by at most "
                f"{max(differences):.1g}"
            )
        for row in wrong[:10]:
            print(f"  net {row['number']}: {row['error']}")
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)
