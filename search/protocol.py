"""What a study evaluates, and whose fault it is when that fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from compress.errors import BusyError, CompressError, os_error, told
from search.candidate import Candidate

if TYPE_CHECKING:
    from optuna import Trial

T = TypeVar("T")


class Objective(Protocol):
    """What a study evaluates; every answer follows from the candidate alone, but for the clock's noise."""

    def baseline_values(self) -> dict[str, Any]:
        """``records.MEASURED`` of what candidates are compared with, and whatever else is to be kept."""

    def take_up(self, base: Mapping[str, Any]) -> None:
        """Compare with these ``baseline_values``, which the study had when it began.

        Raises:
            InputError: what they were measured on is no longer there.
        """

    def sample(self, trial: Trial) -> Candidate:
        """Ask ``trial`` for a candidate."""

    def costs(self, candidate: Candidate, needed: bool) -> dict[str, float]:
        """``params``, ``macs`` and, if ``needed`` or known without a clock, ``ms``: all without training."""

    def proxy(self, candidate: Candidate) -> float:
        """The study's proxy of the untrained net; higher is better."""

    def refusal(self, candidate: Candidate) -> str | None:
        """Why it cannot go through the study's stages, as far as that is known without training."""

    def short(self, candidate: Candidate, epochs: int) -> dict[str, float]:
        """``records.MEASURED`` after so many epochs of its training, which is paused there."""

    def evaluate(self, candidate: Candidate) -> dict[str, float]:
        """The same after all of its training, and whatever else is to be kept."""

    def forget(self, candidate: Candidate) -> None:
        """It will be told as stopped: nothing goes on from its paused training."""


def asked(ask: Callable[..., T], *args: Any, log: Callable[[str], None]) -> T:
    """``ask(*args)`` of an objective about one candidate.

    Raises:
        CompressError: also in place of whatever its layers or a stage's library raised, whose traceback
            ``log`` gets: it ends this candidate, not the study.
        What is ``blameless``, as it is.
    """
    try:
        return ask(*args)
    except CompressError:
        raise
    except Exception as error:
        if blameless(error):
            raise
        log(traceback.format_exc().rstrip())
        raise CompressError(told(error)) from error


def blameless(error: BaseException) -> bool:
    """Whether no candidate is at fault: a full disk, a database that is gone, a machine that others time on,
    a Ctrl-C."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    others = BusyError | KeyboardInterrupt | StorageInternalError | SQLAlchemyError
    return isinstance(error, others) or (isinstance(error, Exception) and os_error(error) is not None)
