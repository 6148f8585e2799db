"""One timing session: blocks of sections, which of them count, and the ratios they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compress.measure.interval import log_ratio
from compress.measure.others import stolen_s
from compress.measure.sections import Bools, Floats, Run, Sections, core_speed, inputs_of, warm_up
from compress.measure.timing import Timing, told
from compress.ratio import Ratio

_WARM_UP_NS = 3e8  # at most, per run


class Session:
    """Every section of some runs, by run and load, and what they come to."""

    def __init__(
        self, loaded: Mapping[str, list[Run]], cores: tuple[int, ...], min_blocks: int, seed: int
    ) -> None:
        self._sections: dict[str, list[Sections]] = {}
        for name, runs in loaded.items():
            took = [warm_up(run, _WARM_UP_NS / len(runs)) for run in runs]
            self._sections[name] = [Sections(float(np.median(took)), inputs_of(run)) for run in runs]
        self._enough = -(-min_blocks // min(map(len, self._sections.values())))
        self._cores, self._seed = cores, seed
        self._stolen: list[bool] = []

    def time_block(self, loaded: Mapping[str, list[Run]], rng: np.random.Generator) -> None:
        """One section of each load, in random order: who comes after whom matters to the caches."""
        turns = [
            turn for name, runs in loaded.items() for turn in zip(self._sections[name], runs, strict=True)
        ]
        before, speed = stolen_s(self._cores), core_speed()
        for i in rng.permutation(len(turns)):
            sections, run = turns[i]
            speed = sections.time_one(run, speed)
        self._stolen.append(stolen_s(self._cores) > before)

    @property
    def blocks(self) -> int:
        return len(self._stolen)

    def too_few(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Whether two runs of a pair have too few undisturbed blocks in common."""
        if self.blocks < self._enough:
            return True
        bad = {name: self._disturbed(name) for name in self._sections}
        return any(self._clean(bad[a], bad[b]).sum() < self._enough for a, b in pairs)

    def _reasons(self, name: str) -> dict[str, Bools]:
        """Blocks x loads by reason."""
        speeds = [one.speed for sections in self._sections.values() for one in sections]
        usual = np.median(np.stack(speeds), axis=(0, 2))
        loads = self._sections[name]
        stolen = np.repeat(np.array(self._stolen)[:, None], len(loads), axis=1)
        return {
            "lost the core": np.stack([one.lost_core() for one in loads], axis=1),
            "met another core speed": np.stack([one.other_speed(usual) for one in loads], axis=1),
            "were stolen by the hypervisor": stolen,
        }

    def _disturbed(self, name: str) -> Bools:
        bad: Bools = np.any(list(self._reasons(name).values()), axis=0)
        return bad

    @staticmethod
    def _clean(one: Bools, other: Bools) -> Bools:
        """Blocks in which at least half of the loads of both runs count."""
        clean: Bools = (one.mean(axis=1) <= 0.5) & (other.mean(axis=1) <= 0.5)
        return clean

    def _levels(self, name: str, bad: Bools) -> Floats:
        levels: Floats = np.stack([one.levels() for one in self._sections[name]], axis=1)
        return np.where(bad, np.nan, levels)

    def _pair(self, one: str, other: str) -> tuple[Bools, Bools, Bools, bool]:
        """What is disturbed of each, the blocks that count, and whether that had to be all of them."""
        bad, bad_other = self._disturbed(one), self._disturbed(other)
        clean = self._clean(bad, bad_other)
        if clean.sum() >= min(self._enough, self.blocks):  # slow runs have no more
            return bad, bad_other, clean, False
        return np.zeros_like(bad), np.zeros_like(bad_other), np.ones_like(clean), True

    def ratio(self, candidate: str, reference: str) -> Ratio:
        """Paired, with its 95 % interval; 1 for a run and itself."""
        if candidate == reference:
            return Ratio(1.0, 1.0, 1.0)
        bad, bad_other, clean, _ = self._pair(candidate, reference)
        mine, other = (
            levels[:, np.isfinite(levels).any(axis=0)]  # a load that never counts says nothing
            for levels in (self._levels(candidate, bad)[clean], self._levels(reference, bad_other)[clean])
        )
        at, low, high = np.exp(log_ratio(mine, other, self._seed))
        return Ratio(float(at), float(low), float(high))

    def timing(self, name: str, reference: str, against: str, others: float, warning: str | None) -> Timing:
        """What is told of one run; ``others`` and ``warning`` are the session's."""
        bad, _, clean, busy = self._pair(name, reference)
        calls = self._calls(name, bad, clean)
        p10, median, p90 = (float(v) / 1e6 for v in np.percentile(calls, [10, 50, 90]))
        reasons = {reason: int(found.sum()) for reason, found in self._reasons(name).items()}
        if busy and warning is None:
            why = f" (of {bad.size} sections {told(reasons)})" if any(reasons.values()) else ""
            warning = f"too much was disturbed{why}: it counts all the same, so the interval is wide"
        return Timing(
            median_ms=median,
            p10_ms=p10,
            p90_ms=p90,
            n=calls.size,
            ratio=(ratio := self.ratio(name, reference)),
            ratio_against=ratio if against == reference else self.ratio(name, against),
            loads=len(self._sections[name]),
            blocks=int(clean.sum()),
            dropped=int((~clean).sum()),
            sections=bad.size,
            disturbed=reasons,
            others=others,
            busy=busy,
            warning=warning,
        )

    def _calls(self, name: str, bad: Bools, clean: Bools) -> Floats:
        """Wall times of an input, ns: of the undisturbed calls where there are any."""
        wall, quiet = [], []
        for one, lost in zip(self._sections[name], bad.T, strict=True):
            counts = clean & ~lost
            wall.append(one.wall[counts].ravel() / one.inputs)
            quiet.append(one.undisturbed()[counts].ravel())
        calls, undisturbed = np.concatenate(wall), np.concatenate(quiet)
        return calls[undisturbed] if undisturbed.any() else calls
