"""``runs/<name>-ablation/``: what an ablation leaves for people and programs to read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.ablation.report import content, markdown, rows
from compress.errors import InputError
from compress.report.ablation_page import write_page
from compress.store import move_aside, write_text

if TYPE_CHECKING:
    from compress.ablation.run import Ablation
    from compress.recipe import Recipe


@dataclass(frozen=True)
class AblationFolder:
    """The folder, and where one of another recipe of that name was moved."""

    path: Path
    moved: Path | None

    @classmethod
    @contextmanager
    def open(cls, recipe: Recipe, root: Path = Path("runs")) -> Iterator[AblationFolder]:
        """Held while the ablation runs; what another recipe of that name left is moved aside.

        Raises:
            InputError: another ablation of that name is going on.
        """
        from filelock import FileLock, Timeout

        path = root / f"{recipe.name}-ablation"
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{path.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{path}: another run of that name is going on; wait, or set name") from None
        try:
            written, text, moved = path / "recipe.yaml", _without_budget(recipe).to_yaml(), None
            if path.exists() and (not written.is_file() or written.read_text(encoding="utf-8") != text):
                moved = move_aside(path)
            path.mkdir(parents=True, exist_ok=True)
            write_text(written, text)
            yield cls(path, moved)
        finally:
            lock.release()

    def log(self, line: str) -> None:
        """Append a line with the time of day to ``log.txt``."""
        with (self.path / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def write(self, ablation: Ablation) -> None:
        """``ablation.json``, ``ablation.csv``, ``report.md``, ``report.html`` and ``figures/``."""
        found = content(ablation)
        write_text(self.path / "ablation.csv", rows(ablation))
        write_text(self.path / "report.md", markdown(ablation))
        write_page(self.path, found)
        write_text(self.path / "ablation.json", json.dumps(found, indent=1))


def _without_budget(recipe: Recipe) -> Recipe:
    """With more time the same ablation goes on in the same folder."""
    if recipe.ablation is None:
        return recipe
    endless = recipe.ablation.model_copy(update={"max_variants": None, "max_hours": None})
    return recipe.model_copy(update={"ablation": endless})
