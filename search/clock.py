"""How long a study has been worked on, by all its processes together; a kill loses the last seconds only."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.recovery import HOST

if TYPE_CHECKING:
    from types import TracebackType

    import optuna

_EVERY_S = 5.0
_KEY = "clock."  # of the study's attributes: one for each time a process worked on it


@dataclass(frozen=True)
class Spent:
    """Work on a study.

    Attributes:
        seconds: by the clock on the wall, summed over processes: two workers spend two in a second.
        cpu_seconds: of all their threads.
    """

    seconds: float
    cpu_seconds: float

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    @classmethod
    def on(cls, study: optuna.Study) -> Spent:
        """By all processes, as they noted it last."""
        return cls._sum(_noted(study))

    @classmethod
    def _sum(cls, noted: dict[str, list[float]]) -> Spent:
        return cls(sum(wall for wall, _ in noted.values()), sum(cpu for _, cpu in noted.values()))


def _noted(study: optuna.Study) -> dict[str, list[float]]:
    return {key: value for key, value in study.user_attrs.items() if key.startswith(_KEY)}


def words(hours: float) -> str:
    """A time in hours, in the unit that fits it."""
    for unit, size in (("h", 1.0), ("min", 60.0)):
        if hours * size >= 1:
            return f"{hours * size:.3g} {unit}"
    return f"{hours * 3600:.3g} s"


class Clock:
    """Runs inside ``with``, and notes in the study's storage every few seconds what has passed."""

    def __init__(self, study: optuna.Study, every: float = _EVERY_S) -> None:
        self._study, self._every = study, every
        self._key = f"{_KEY}{HOST}.{os.getpid()}.{time.time_ns()}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._note_again, daemon=True)

    def __enter__(self) -> Clock:
        self._began = time.monotonic(), time.process_time()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._note()

    def spent(self) -> Spent:
        """By all processes so far: this one up to now, others as they noted it last."""
        return Spent._sum({**_noted(self._study), self._key: self._own()})

    def _own(self) -> list[float]:
        return [time.monotonic() - self._began[0], time.process_time() - self._began[1]]

    def _note(self) -> None:
        self._study.set_user_attr(self._key, [round(seconds, 3) for seconds in self._own()])

    def _note_again(self) -> None:
        while not self._ended.wait(self._every):
            self._note()
