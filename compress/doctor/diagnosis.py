"""Whether this machine's timings can be trusted right now: what stands in the way, and the noise floor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "absent", "care", "bad"]
Word = Literal["trustworthy", "usable with care", "not now"]
_NOISE = "noise floor"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic, found: what, and how it is here.
        state: ``care`` where it can disturb timings, ``bad`` where it spoils them; ``absent`` does neither.
        advice: what to do about it; empty when there is nothing to do.
    """

    topic: str
    found: str
    state: State = "ok"
    advice: str = ""


@dataclass(frozen=True)
class Noise:
    """The same small model timed against itself.

    Attributes:
        model: what was timed, in which runtime; ``ms``: its median.
        seconds: of timing; the loads come before.
        told: the smallest difference that would be told from none in four of five such timings.
        called_different: the interval does not contain 1, though both sides are the same; by chance that
            happens once in twenty times.
        note: how it was timed; ``warning``: what disturbed it.
    """

    model: str
    ms: float
    seconds: float
    told: float
    called_different: bool
    note: str
    warning: str | None

    @property
    def line(self) -> str:
        called = ", though the same model was called different from itself" * self.called_different
        return f"a difference of {self.told:.1%} can be told in {self.seconds:g} s{called}"


@dataclass(frozen=True)
class Diagnosis:
    """Everything found, and what it comes to."""

    findings: tuple[Finding, ...]
    noise: Noise

    @property
    def verdict(self) -> Word:
        """``not now`` when a finding is bad, ``usable with care`` when one asks for care."""
        states = {one.state for one in self.findings}
        if "bad" in states:
            return "not now"
        return "usable with care" if "care" in states else "trustworthy"

    @property
    def line(self) -> str:
        """The verdict, why, and what to do."""
        told = f"{self.verdict}: {self.noise.line}"
        # What asks for care may be the cause of what is bad.
        causes = [one for one in self.findings if one.state in ("care", "bad")]
        why = [f"{one.topic}: {one.found}" for one in causes if one.topic != _NOISE]
        advice = [one.advice for one in causes]
        return "; ".join([told, *why]) + (f". To do: {'; '.join(advice)}." if advice else "")

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "line": self.line, **asdict(self)}


def examine(seconds: float = 3.0) -> Diagnosis:
    """Look at the machine, then time a small model against itself for ``seconds``.

    Raises:
        CompressError: another timing on this machine did not end.
    """
    from compress.doctor.machine import machine_findings
    from compress.doctor.noise import noise_floor
    from compress.doctor.software import software_findings

    found: list[Finding] = [*machine_findings(), *software_findings()]
    noise = noise_floor(seconds)
    return Diagnosis((*found, noise_finding(noise)), noise)


def noise_finding(noise: Noise) -> Finding:
    """A stage earns some percent to half of the time: a clock blind to 2 % misses little, to 6 % much."""
    how = f"{noise.model}, {noise.ms:.3f} ms, against itself: {noise.line}"
    longer = "time for longer (--seconds), or when less is running"
    if noise.told > 0.06:
        return Finding(_NOISE, how, "bad", longer)
    if noise.told > 0.02 or noise.called_different:
        return Finding(_NOISE, how, "care", longer)
    return Finding(_NOISE, how)
