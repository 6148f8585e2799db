"""The contract of a runtime: export a module, load it back, run it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from compress.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from compress.net import Quant

MANIFEST = "artifact.json"


@dataclass(frozen=True)
class Artifact:
    """A folder with a model in its runtime's format and ``artifact.json`` (written last)."""

    path: Path

    @property
    def meta(self) -> dict[str, Any]:
        """``runtime``, ``file``, ``input`` (shape without batch, dtype), ``int8``, and for a
        whole net ``labels`` and ``preprocess``."""
        data: dict[str, Any] = json.loads((self.path / MANIFEST).read_text())
        return data

    @property
    def bytes(self) -> int:
        """Size of the model's files (everything but JSON)."""
        return sum(f.stat().st_size for f in self.path.iterdir() if f.suffix != ".json")


class Runtime(Spec, ABC):
    """Subclasses declare ``kind: Literal["..."] = "..."``; torch is imported inside ``export`` only."""

    kind: str
    threads: int = Field(1, ge=1, description="Intra-op threads.")

    extra: ClassVar[str | None] = None  # the extra of setup.cfg that brings it; None: always there
    int8: ClassVar[bool] = False  # whether a Quant is honoured at export

    @abstractmethod
    def missing(self) -> str | None:
        """None when usable here, else one line saying which extra installs it."""

    def check(self) -> list[str]:
        """``missing`` as a recipe's check asks for it: found before any training."""
        line = self.missing()
        return [line] if line else []

    @abstractmethod
    def export(self, model: nn.Module, example: Tensor, path: Path, quant: Quant | None = None) -> Artifact:
        """Write ``model`` (eval, float; takes ``example``, whose first dimension is a free batch)
        to the new folder ``path``. ``quant`` makes it int8; ValueError where ``int8`` is False."""

    @abstractmethod
    def load(self, artifact: Artifact, batch: int | None = 1) -> Callable[[np.ndarray], np.ndarray]:
        """A function from an input batch to logits (float32 N x C), without torch where the format
        allows. ``batch`` fixes the batch for speed; None leaves it free."""
