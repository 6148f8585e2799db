"""A working directory for runs on coloured photos, and what several files ask of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scored_runs import MODEL, Guess, coloured, recipe, recorded, write

from compress.net import Net, Preprocess
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.stages.quantize import Quantize
from compress.stages.resize import Resize
from compress.step import Step


@pytest.fixture(scope="session")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and a model; one store for all files here, which start from the same trained baseline."""
    folder = tmp_path_factory.mktemp("scoring")
    write(folder / "photos", {"train": 30, "val": 20, "test": 20}, coloured)
    (folder / "model.yaml").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def work(scoring: Path) -> Iterator[Path]:
    """The working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(scoring)
        yield scoring


@pytest.fixture(scope="module")
def chain(in_a_hurry: None, work: Path) -> list[Step]:
    """A baseline at 24 px, the same at 16 px, then as int8."""
    stages = (Resize(size=16, epochs=1), Quantize(fallback=False, samples=16))
    return recorded(recipe("chain", stages=stages, gate="always"))


@pytest.fixture(scope="module")
def other(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of its own size, order of labels and pixels."""
    net = Net(Guess().eval(), Preprocess(20), ("red", "green", "blue"))
    return export_net(net, OnnxRuntime(), tmp_path_factory.mktemp("base") / "other", decode="fast").path
