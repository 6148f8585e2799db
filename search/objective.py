"""What a candidate is worth: trained, exported and measured by the chain's own machinery, in its store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compress.chain import At, advance, baseline
from compress.inputs import seeded
from compress.lab import Lab
from compress.spec import digest
from compress.step import Score, Step
from compress.store import Store
from compress.train import float_f1
from search.candidate import Candidate
from search.joint import suggest_values
from search.origins import check, origins
from search.recipes import recipe_of
from search.records import TIME_MS
from search.sample import suggest
from search.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Trial
    from torch import Tensor

    from compress.net import Net
    from compress.scoring import Scored, Scorer
    from compress.train import TrainSpec

_PROXY_IMAGES = 32
_SCORED_BY = "scored_by"  # of the study's baseline: what the metric compares with
_ORIGINS = "origins"  # of the study's baseline: what the files were that the study names


@dataclass
class Measuring:
    """The objective of ``python -m search``: F1 on val of the exported net, its time beside the baseline's.

    That is what ``evaluate`` measures and a net is chosen by. At a pause of a training, where peers are
    compared, F1 is that of the float net: it need not be exported for that.

    ``ms`` is the baseline's median times the paired ratio of both: times of different moments do not compare.
    The median is the one that the study began with, and so are the runtime and what scores compare with: a
    store that was deleted, another version of a package or another machine must not shift later trials beside
    earlier ones.

    Equal candidates with equal trainings have equal keys in ``store``, so a killed training goes on from its
    last epoch, and a finished one is never repeated.
    """

    spec: StudySpec
    store: Store
    log: Callable[[str], None] = print
    note: Callable[[str], None] = print  # of what a candidate's training has to say
    _known: Mapping[str, Any] = field(default_factory=dict, init=False)  # the study's baseline, as it began
    _costs: dict[str, dict[str, float]] = field(default_factory=dict, init=False)  # by architecture
    _images: dict[int, Tensor] = field(default_factory=dict, init=False)  # of proxies, by size
    _advised: bool = field(default=False, init=False)
    _at_hand: tuple[str, Lab] | None = field(default=None, init=False)  # the last candidate's key and lab
    _origins: Mapping[str, Any] = field(default_factory=dict, init=False)  # of what ``_base_lab`` read

    @cached_property
    def base(self) -> At:
        """The baseline, trained and measured; the runtime is resolved on it."""
        return baseline(self._base_lab)

    @cached_property
    def _base_lab(self) -> Lab:
        runtime = self.spec.runtime.canonical()
        if runtime["kind"] == "auto" and "runtime" in self._known:
            runtime = {"kind": self._known["runtime"], "threads": runtime["threads"]}
        recipe = recipe_of(self.spec, model=self.spec.baseline.canonical(), runtime=runtime)
        lab = Lab.start(recipe, store=self.store, log=self.log)
        self._origins = origins(self.spec, lab.splits, lab.outside)  # now: the training may take hours
        return lab

    def baseline_values(self) -> dict[str, Any]:
        """As of a candidate, the ``runtime`` that was resolved on it, what scores compare with, and what the
        study's files were."""
        values = self._values(self.base.scored.score)
        whole = {**values, "runtime": self._scorer.runtime, _SCORED_BY: self._scored_by}
        return {**whole, _ORIGINS: self._origins}

    def take_up(self, base: Mapping[str, Any]) -> None:
        self._known = base
        if "_scorer" in self.__dict__ and base.get("runtime", self._scorer.runtime) != self._scorer.runtime:
            # Two processes began the study at once, and auto chose otherwise in this one
            for name in ("base", "_base_lab", "_scorer", "_base_predicted"):
                self.__dict__.pop(name, None)
        if _ORIGINS in base:  # studies of earlier versions have none
            _ = self._base_lab
            check(base[_ORIGINS], self._origins, self.spec)

    # The loop's protocol --------------------------------------------------------------------------

    def sample(self, trial: Trial) -> Candidate:
        net = suggest(self.spec.space, trial, classes=len(self._base_lab.splits.labels))
        return replace(net, values=suggest_values(self.spec.search, trial))

    def costs(self, candidate: Candidate, needed: bool) -> dict[str, float]:
        from compress.measure import counters

        found = self._costs.get(candidate.digest)
        if found is None:
            net = self._untrained(candidate)
            found = {
                "params": counters.params(net.module),
                "macs": counters.macs(net.module, net.example()),
            }
            if (ms := self._predicted(net)) is not None:
                found["ms"] = ms
            self._costs[candidate.digest] = found
        if needed and "ms" not in found:
            self._advise()
            with self._scorer.exported(self._untrained(candidate)) as shipped:
                found["ms"] = self._base_ms * self._scorer.ratio_of(shipped, self.base.scored.shipped).median
        return dict(found)

    def proxy(self, candidate: Candidate) -> float:
        import torch

        from search import proxies

        assert self.spec.proxies is not None
        net, size = self._untrained(candidate), candidate.image_size
        if size not in self._images:  # all of one size see the same ones
            calib = self._lab(candidate).calib
            spread = calib.images[:: max(1, len(calib.images) // _PROXY_IMAGES)]  # they lie class by class
            self._images[size] = torch.tensor(spread[:_PROXY_IMAGES]).permute(0, 3, 1, 2)
        function: Callable[..., float] = getattr(proxies, self.spec.proxies.kind)
        with seeded(self.spec.seed):
            return function(net.module, net.preprocess.normalise(self._images[size]))

    def refusal(self, candidate: Candidate) -> str | None:
        """What the first stage says; the others get another net."""
        if not self.spec.stages:
            return None
        first = recipe_of(self.spec, candidate).stages[0]
        return first.tries()[-1].refusal(self._untrained(candidate))

    def short(self, candidate: Candidate, epochs: int) -> dict[str, float]:
        lab = self._lab(candidate)
        key = digest("rung", lab.base_key, epochs)
        f1 = self.store.value("rungs", key)
        if f1 is None:  # once the training has gone on, it cannot be measured again
            f1 = float_f1(lab.train_until(lab.base_key, lab.recipe.train, epochs), lab.splits.val)
            self.store.put_value("rungs", key, f1)
        return self._with_score(f1, self.costs(candidate, needed=True))

    def forget(self, candidate: Candidate) -> None:
        """A stopped candidate's checkpoint is dropped, unless an equal one is in training. A later one would
        be told as its duplicate; and hundreds, each two or three times a net's weights, would fill a disk.
        Where values after the training are searched it stays: its net may come again with others."""
        if any(not path.startswith("train.") for path in self.spec.search):
            return
        key = self._lab(candidate).base_key
        with self.store.lock(key, wait=False) as held:
            if held:
                self.store.drop_work(key)

    def evaluate(self, candidate: Candidate) -> dict[str, float]:
        return self._values(self.score(candidate))

    def score(self, candidate: Candidate) -> Score:
        """Of the candidate trained fully, exported and timed beside the baseline."""
        lab = self._lab(candidate)
        net, _ = lab.train(lab.base_key, lab.recipe.train)
        scorer = lab.measure_in_runtime_of(net)
        scorer.baseline = self.base.scored
        scored, beside = scorer.score(net, lab.base_key, None)
        if beside.warning:
            self.log(f"timing: {beside.warning}")
        return (self._after_stages(lab, net, scored) if lab.recipe.stages else scored).score

    def _after_stages(self, lab: Lab, net: Net, scored: Scored) -> Scored:
        """The candidate through the study's chain; gated as in a run, scored beside the study's baseline."""
        step = Step("candidate", "candidate", lab.base_key, True, "", scored.score, 0.0, False)
        at = At(step, net, lab.base_key, scored)
        for stage in lab.recipe.stages:
            at = advance(lab, stage, at)
            self.log(f"  {at.step.label}: {'kept' if at.step.kept else 'not kept'}, {at.step.why}")
        return at.scored

    # ----------------------------------------------------------------------------------------------

    def _lab(self, candidate: Candidate) -> Lab:
        """Where the candidate is trained; its runtime is the one chosen on the baseline.

        The last one is kept: from one rung to the next it is the same, and reading its images takes longer
        than looking at several candidates.
        """
        if self._at_hand is None or self._at_hand[0] != candidate.key:
            recipe = recipe_of(self.spec, candidate, runtime=self._scorer.spec.canonical())
            recipe = recipe.model_copy(update={"train": self._training(recipe.train)})
            net = self._start(candidate)
            quiet = _silent  # what it says of the data was said for the baseline
            lab = Lab.start(recipe, model=net, store=self.store, log=quiet)
            lab.log = self.note
            self._at_hand = candidate.key, lab
        return self._at_hand[1]

    def _training(self, train: TrainSpec) -> TrainSpec:
        """How a candidate is trained, of what its recipe says."""
        return train

    def _start(self, candidate: Candidate) -> Net:
        """What its training starts from."""
        return self._untrained(candidate)

    def _untrained(self, candidate: Candidate) -> Net:
        from compress.models import arch
        from compress.net import Net, Preprocess

        labels, size = self._base_lab.splits.labels, candidate.image_size
        with seeded(self.spec.seed):
            module = arch.build(candidate.model, len(labels), size=size).eval()
        return Net(module, Preprocess(size), labels)

    @cached_property
    def _scorer(self) -> Scorer:
        _ = self.base  # scoring it resolves the runtime
        return self._base_lab.measuring

    @property
    def _base_ms(self) -> float:
        return float(self._known["ms"] if self._known else self.base.scored.score.latency.median)

    def _values(self, score: Score) -> dict[str, float]:
        return {
            "f1": score.f1_val,
            "ms": self._base_ms * score.latency.ratio,
            "params": score.params,
            "macs": score.macs,
            "score": self._points(score.f1_val, score.time.median, score.macs),
            **self._whole_ms(score.end_to_end_ratio.median),
            "f1_test": score.f1_test,  # decides nothing
            "ms_low": self._base_ms * score.latency.ratio_interval[0],
            "ms_high": self._base_ms * score.latency.ratio_interval[1],
        }

    def _predicted(self, net: Net) -> float | None:
        """Milliseconds by the latency table, where this machine has one: of its ratio to the baseline, as the
        machine may be faster or slower than on the day of the table."""
        own, whole = self._scorer.predict_ms(net), self._base_predicted
        return None if own is None or whole is None else self._base_ms * own / whole

    @cached_property
    def _base_predicted(self) -> float | None:
        return self._scorer.predict_ms(self.base.net)

    def _advise(self) -> None:
        """Before the first candidate that is timed for its limits, say what would spare that."""
        if self._advised or self._base_predicted is not None:
            return
        self._advised = True
        spec = self._scorer.spec
        self.log(
            f"no latency table of {spec.kind}, threads {spec.threads}: candidates are exported and timed "
            f"one by one; python -m compress calibrate --runtime {spec.kind} --threads {spec.threads} "
            "measures one in two or three minutes"
        )

    def _with_score(self, f1: float, costs: dict[str, float]) -> dict[str, float]:
        """With the metric's points, the model's time standing in for what the metric times."""
        ratio = costs["ms"] / self._base_ms
        points = self._points(f1, self._scored_by["own"] * ratio, costs["macs"])
        return {**costs, "f1": f1, "score": points, **self._whole_ms(ratio)}

    def _points(self, f1: float, ratio: float, macs: float) -> float:
        """By the metric; ``ratio`` is of the times that it counts, to what it compares with."""
        base = self._scored_by
        metric = self.spec.metric.with_base(f1=base["f1"], time=base["time"], macs=base["macs"])
        return metric.points(f1=f1, time=base["time"] * ratio, macs=macs)

    @property
    def _scored_by(self) -> Mapping[str, Any]:
        """F1, time and macs that the metric compares with, and the baseline's ``own`` time relative to that.

        Studies that began without a note of it go by what this process measured.
        """
        if _SCORED_BY in self._known:
            noted: Mapping[str, Any] = self._known[_SCORED_BY]
            return noted
        own = self.base.scored.score
        base = own.base
        return {"f1": base.f1_val, "time": base.time_ms, "macs": base.macs, "own": own.time.median}

    def _whole_ms(self, ratio: float) -> dict[str, float]:
        """From photo to label, ``ratio`` of the baseline's time, where that is the time that counts."""
        if self.spec.metric.time == "model":
            return {}
        known = self._known.get(TIME_MS)
        return {TIME_MS: (self.base.scored.score.end_to_end_ms if known is None else known) * ratio}


def _silent(line: str) -> None:
    """Takes a log that was told before."""
