"""The contract of a stage, and what a stage is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from compress.gate import Gate
from compress.ratio import Ratio as Ratio
from compress.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.data.images import ImageSet
    from compress.net import Net


@dataclass(frozen=True)
class Plan:
    """What a stage would do, decided before it does it; JSON-able, stored, and part of the key.

    Attributes:
        what: the decisions (ranks, widths, ...).
        notes: lines for a person: what is touched, how far, why not the rest.
        skip: a reason not to run at all; the step is then reported as skipped.
        measured: whether a timing on this machine decided; the machine then enters the key.
    """

    what: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skip: str | None = None
    measured: bool = False


class Bench(Protocol):
    """Measures in the run's one resolved runtime; the only way a stage gets at a clock or an F1."""

    @property
    def runtime(self) -> str:
        """Kind of the resolved runtime, e.g. ``onnxruntime``."""

    @property
    def int8(self) -> bool:
        """Whether that runtime can run int8."""

    def ratio(self, candidate: Net, reference: Net) -> Ratio:
        """Batch-1 time of two nets, both exported, interleaved."""

    def ratio_modules(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> Ratio:
        """The same for bare modules taking ``example`` (float32, batch 1)."""

    def f1(self, net: Net, data: ImageSet) -> float:
        """Macro F1 of the exported net."""


@dataclass
class Context:
    """What a stage may see: never val, never test.

    Attributes:
        train, tune: images; tune (a grouped tenth of train) is for early stops and allowances.
        calib: some images of train, for calibration and statistics.
        baseline: the net the chain started from, trained.
        train_spec: the recipe's training settings, which stages shorten or adapt.
        seed: every draw of the stage starts from it.
        bench: measuring in the resolved runtime.
        work: a folder of this stage alone that survives a kill (training checkpoints).
        remember: ``remember(key, make)`` gives the stored net of that key or makes and stores it
            (a fine-tuned teacher); ``key`` is any JSON-able content.
        log: one line for the log and the screen.
        progress: whether to draw progress bars.
    """

    train: ImageSet
    tune: ImageSet
    calib: ImageSet
    baseline: Net
    train_spec: Any
    seed: int
    bench: Bench
    work: Path
    remember: Callable[[Any, Callable[[Path], Net]], Net]
    log: Callable[[str], None] = print
    progress: bool = False


class Stage(Spec, ABC):
    """One link of the chain: a YAML node and a Python object.

    Subclasses declare ``kind: Literal["..."] = "..."`` and are constructible with no argument.
    """

    kind: str
    label: str | None = Field(None, description="Name in tables; the kind when left out.")
    gate: Gate | None = Field(None, description="When it is kept; the recipe's gate when left out.")

    after_quantize: ClassVar[bool] = False  # whether it may follow quantize, as QAT

    @abstractmethod
    def plan(self, net: Net, ctx: Context) -> Plan:
        """Decide. Must leave ``net`` as it is."""

    @abstractmethod
    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        """Do it. Owns ``net`` (a copy); deterministic given the plan and ``ctx.seed``."""
