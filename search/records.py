"""What a trial says of itself besides Optuna's values: attributes that every worker and any tool can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from search.candidate import Candidate

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# evaluated: trained fully and measured. stopped: at a rung. failed: it raised. duplicate: of an earlier
# trial, whose values become its attributes. infeasible: beyond a limit, or what its stages can do. outranked:
# another of its batch was chosen. interrupted: its process died; queued again where its evaluation had begun.
Outcome = Literal["evaluated", "stopped", "failed", "duplicate", "infeasible", "outranked", "interrupted"]
COUNTED: tuple[Outcome, ...] = ("evaluated", "stopped", "failed")  # towards the study's trials
TRAINED_ELSEWHERE: tuple[Outcome, ...] = ("interrupted", "duplicate")  # what they measured another trial has
BASE = "baseline"  # the study's attribute with the baseline's measurements
MEASURED = ("f1", "ms", "params", "macs", "score")
TIME_MS = "time_ms"  # beside them where metric.time says that this counts: from photo to label
RUNGS = "rungs_of_one_training"  # the attribute; what "rungs" held were trainings apart, which do not compare


@dataclass(frozen=True)
class Record:
    """A trial as read back.

    Attributes:
        measured: of ``MEASURED`` and ``TIME_MS``, what is known of it.
        rungs: the same at each pause of its training, by epochs.
        proxy: its value by the study's proxy.
        outcome: None until it has ended.
        of: the trial it is a duplicate of, or else runs again.
        feasible: within all limits, as measured.
        shared: of a finalist of ``one_shot``, what it was with shared weights; ``measured`` is fine-tuned.
    """

    number: int
    state: str
    outcome: Outcome | None
    candidate: Candidate | None
    key: str | None
    measured: dict[str, float] = field(default_factory=dict)
    rungs: dict[int, dict[str, float]] = field(default_factory=dict)
    proxy: float | None = None
    of: int | None = None
    error: str | None = None
    seconds: float | None = None
    feasible: bool = True
    shared: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_trial(cls, trial: FrozenTrial) -> Record:
        said = trial.user_attrs
        candidate = said.get("candidate")
        return cls(
            number=trial.number,
            state=trial.state.name,
            outcome=ended(trial),
            candidate=candidate and Candidate.from_dict(candidate),
            key=said.get("key"),
            measured={n: said[n] for n in (*MEASURED, TIME_MS) if said.get(n) is not None},
            rungs={int(epochs): values for epochs, values in said.get(RUNGS, {}).items()},
            proxy=said.get("proxy"),
            of=said.get("twin", said.get("rerun_of")),
            error=said.get("error"),
            seconds=said.get("seconds"),
            feasible=all(value <= 0 for value in trial.constraints.values()),
        )

    def row(self) -> dict[str, Any]:
        """For ``trials.csv``."""
        measured = {name: self.measured.get(name) for name in (*MEASURED, TIME_MS)}
        ended = {"number": self.number, "state": self.state, "outcome": self.outcome}
        last = {
            "feasible": self.feasible if self.outcome == "evaluated" else None,
            "proxy": self.proxy,
            "f1_shared": self.shared.get("f1"),
            "of": self.of,
            "seconds": self.seconds,
            "error": self.error,
        }
        return {**ended, **measured, **last, **self.drawn()}

    def drawn(self) -> dict[str, Any]:
        """What was drawn beside the model file: the image size, and values by their key paths in a recipe."""
        if self.candidate is None:
            return {}
        found: dict[str, Any] = {"data.image_size": self.candidate.image_size}
        for key, value in self.candidate.train.items():
            inner = value if isinstance(value, Mapping) else {"": value}
            found |= {f"train.{key}.{name}".rstrip("."): one for name, one in inner.items()}
        return found | self.candidate.values


def ended(trial: FrozenTrial) -> Outcome | None:
    """A trial's outcome, once it has ended; without the rest of its record, as there may be thousands."""
    outcome: Outcome | None = trial.user_attrs.get("outcome") if trial.state.is_finished() else None
    return outcome


def counted(records: Iterable[Record]) -> int:
    """How many of the study's trials are spent."""
    return sum(record.outcome in COUNTED for record in records)


def comparable(records: Iterable[Record]) -> list[Record]:
    """Those evaluated within all limits; where some were fine-tuned only these, as an F1 with shared weights
    says nothing beside one with a net's own: none, where these are all beyond the limits."""
    found = [record for record in records if record.outcome == "evaluated"]
    tuned = [record for record in found if record.shared]
    return [record for record in tuned or found if record.feasible]


def front(records: Iterable[Record], names: Mapping[str, str]) -> list[Record]:
    """The comparable ones that no other is better than, in the order of the first name.

    Args:
        names: measured quantities and their directions, ``maximize`` or ``minimize``.
    """
    found = comparable(records)
    vectors = [lower(record.measured, names) for record in found]
    best = [r for r, v in zip(found, vectors, strict=True) if not any(dominates(o, v) for o in vectors)]
    return sorted(best, key=lambda record: lower(record.measured, names))


def lower(measured: Mapping[str, float], names: Mapping[str, str]) -> tuple[float, ...]:
    """The values as something to minimise."""
    return tuple(-measured[n] if way == "maximize" else measured[n] for n, way in names.items())


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Nowhere worse and somewhere better; lower is better."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
