"""The contract of a stage, and what a stage is given."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from compress.errors import CompressError
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
        measured: whether a timing on this machine decided; machine and runtime then enter the key.
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

    def predict_ms(self, net: Net) -> float | None:
        """Milliseconds of a float net as this machine's latency table has it; None without a table."""

    def predict_ratio(self, candidate: nn.Module, reference: nn.Module, example: Tensor) -> float | None:
        """Time of one bare module over another's within a net, by the table; None without one."""

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
        resized: ``resized(images, size)`` gives a set at another size, from its files where it has any.

    All images are of the side that the net takes which the stage is given.
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
    resized: Callable[[ImageSet, int], ImageSet] | None = None

    def at(self, size: int) -> Context:
        """The same with all images of side ``size``.

        Raises:
            CompressError: this context has no way to resize.
        """
        if self.train.images.shape[1] == size:
            return self
        if self.resized is None:
            raise CompressError(f"these images are of side {self.train.images.shape[1]}, not {size}")
        train, tune, calib = (self.resized(data, size) for data in (self.train, self.tune, self.calib))
        return replace(self, train=train, tune=tune, calib=calib)


class Stage(Spec, ABC):
    """One link of the chain: a YAML node and a Python object.

    Subclasses declare ``kind: Literal["..."] = "..."`` and are constructible with no argument.
    """

    kind: str
    label: str | None = Field(None, description="Name in tables; the kind when left out.")
    gate: Gate | None = Field(None, description="When it is kept; the recipe's gate when left out.")
    retry: tuple[float, ...] | None = Field(
        None, min_length=1, description="Weaker strengths to try, in this order, before the gate drops it."
    )

    after_quantize: ClassVar[bool] = False  # whether it may follow quantize, as QAT
    strength: ClassVar[str | None] = None  # the number that says how far it goes, which `retry` replaces

    @model_validator(mode="after")
    def _can_retry(self) -> Stage:
        if self.retry is not None:
            wrong = _retry_problems(self, self.retry)
            if wrong:
                raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self

    def tries(self) -> list[Stage]:
        """The stage itself, then one for each value of ``retry``."""
        if self.retry is None or self.strength is None:
            return [self]
        fields = {**dict(self), "retry": None}
        return [self, *(type(self).model_validate({**fields, self.strength: v}) for v in self.retry)]

    def refusal(self, net: Net) -> str | None:
        """Why nets of these layers cannot go through, whatever their weights; None where nothing is known
        without training. Must leave ``net`` as it is."""
        return None

    @abstractmethod
    def plan(self, net: Net, ctx: Context) -> Plan:
        """Decide. Must leave ``net`` as it is."""

    @abstractmethod
    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        """Do it. Owns ``net`` (a copy); deterministic given the plan and ``ctx.seed``: what ``ctx.bench``
        says belongs into the plan, as a net is stored for all runtimes."""


def stage_names(stages: Iterable[Stage]) -> list[str]:
    """Label or kind of each; of equal ones the later ones are numbered."""
    return numbered([stage.label or stage.kind for stage in stages])


def numbered(names: Sequence[str]) -> list[str]:
    """The same, told apart: one that was there before gets the first number with which it was not."""
    found: list[str] = []
    for name in names:
        others = (f"{name}-{number}" for number in itertools.count(2))
        free = (other for other in others if other not in {*names, *found})
        found.append(next(free) if name in found else name)
    return found


def _retry_problems(stage: Stage, retry: tuple[float, ...]) -> list[InitErrorDetails]:
    """What is wrong with ``retry``: no strength, a value it cannot have, or no way from strong to weak."""

    def problem(text: str, loc: tuple[str | int, ...] = ("retry",), value: Any = retry) -> InitErrorDetails:
        error = PydanticCustomError("value_error", "{text}", {"text": text})
        return InitErrorDetails(type=error, loc=loc, input=value)

    if stage.strength is None:
        return [problem(f"{stage.kind} has no strength to weaken: leave retry out")]
    wrong = []
    for i, value in enumerate(retry):
        try:
            type(stage).model_validate({**dict(stage), "retry": None, stage.strength: value})
        except ValidationError as error:
            for each in error.errors(include_url=False):
                said = each["msg"][:1].lower() + each["msg"][1:]
                wrong.append(problem(f"{value:g} as {stage.strength}: {said}", ("retry", i), value))
    own = float(getattr(stage, stage.strength))
    steps = [b - a for a, b in zip((own, *retry), retry, strict=False)]
    if not wrong and not (all(s < 0 for s in steps) or all(s > 0 for s in steps)):
        listed = ", ".join(f"{value:g}" for value in retry)
        wrong.append(problem(f"must go on from {stage.strength} {own:g} in one direction, found {listed}"))
    return wrong
