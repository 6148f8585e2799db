"""``runs/<name>-ablation/``: what an ablation leaves for people and programs to read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress import folders
from compress.ablation.report import content, markdown, rows
from compress.report.ablation_page import write_page
from compress.store import write_text

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
        path = root / f"{recipe.name}-ablation"
        with folders.held(path):
            yield cls(path, folders.claim(path, _without_budget(recipe).to_yaml()))

    def log(self, line: str) -> None:
        """Append a line with the time of day to ``log.txt``."""
        folders.log(self.path, line)

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
