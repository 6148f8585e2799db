"""Fixtures every test may use: where the real photos, model files and published rows are."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A machine that decides whether a change lands tries the same cases every time, however slow it is.
settings.register_profile("ci", derandomize=True, deadline=None)
if "CI" in os.environ:
    settings.load_profile("ci")

# One thread, set before torch loads and inherited by child processes: a training test then gives the same
# net on any number of cores, and a busy machine slows it instead of stalling it.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Which tests ran before in a worker depends on the clock: what a test draws must not depend on them."""
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _shared(name: str) -> Path:
    base = Path(os.environ.get("BEYONDNAS_DATA", ROOT.parent / "shared" / "data"))
    path = base if name == "data" else base.parent / name
    if not path.is_dir():
        pytest.skip(f"{path} is absent: set BEYONDNAS_DATA to the folder with trashnet/ and taco/")
    return path


@pytest.fixture(scope="module")
def in_a_hurry() -> Iterator[None]:
    """Nets are timed briefly: a timing of seconds, one at a time on a machine, is most of a chain's cost."""
    from hurry import hurry

    with pytest.MonkeyPatch.context() as patch:
        hurry(patch.setattr)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with ``trashnet/`` and ``taco/``."""
    return _shared("data")


@pytest.fixture(scope="session")
def model_yaml() -> Path:
    """The folder with model files of the competition and ``params.csv``."""
    return _shared("model-yaml")


@pytest.fixture(scope="session")
def facts() -> Path:
    """The folder with ``leaderboard.csv``."""
    return _shared("facts")
