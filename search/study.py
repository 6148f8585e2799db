"""The loop of a study: ask, look before training, train, tell; at any kill the next start goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from compress.errors import CompressError, InputError
from search.candidate import Candidate
from search.claims import Claims
from search.clock import Clock, words
from search.ledger import EVALUATED, TWINS, Ledger, line
from search.protocol import Objective, asked, blameless
from search.records import BASE, COUNTED, RUNGS, TRAINED_ELSEWHERE, Outcome, counted, ended
from search.recovery import HOST, RERUN, put_back, take_back
from search.rungs import goes_on
from search.samplers import sampler_of, seed_of, take_in
from search.shortlist import Looked, pick
from search.spec import StudySpec

if TYPE_CHECKING:
    import optuna
    from optuna import Trial

T = TypeVar("T")

_KNOWN = 100  # so many duplicates in a row: there is nothing new to be had
_BEYOND = 3000  # so many beyond the limits since the last within them: of one in a thousand 95 % find one
_TIMED = 30  # one that had to be timed to know counts as so many, as it takes seconds
BATCH = "batch"  # the attribute: the first one of those that were asked for together
_FAILURES = 3  # the first so many failing means that none will do


@dataclass
class Loop:
    """One worker's part of a study.

    Attributes:
        note: gets what only the log file is for: the tracebacks of candidates that failed.
        told: called, inside the gate, after an evaluation was told.
        stopped: why it ended before all trials were done.
    """

    spec: StudySpec
    study: optuna.Study
    objective: Objective
    claims: Claims
    log: Callable[[str], None] = print
    note: Callable[[str], None] = print
    told: Callable[[], None] = lambda: None
    going: Callable[[], bool] = lambda: True
    stopped: str | None = None
    _known: int = field(default=0, init=False)  # duplicates in a row
    _beyond: int = field(default=0, init=False)  # looks at such beyond the limits, since one within them
    _clock: Clock = field(init=False)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.spec, self.study, self.claims, self.log)

    def run(self) -> None:
        """Until the study's trials or hours are over, or no trial is left for this worker.

        Raises:
            InputError: what the study's file says does not fit its data or machine.
            CompressError: the first candidates all failed.
            What is ``blameless``, after the batch was put back for the next call.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        with Clock(self.study) as self._clock:
            while self.going():
                batch = self._ask()
                if not batch:
                    return
                try:
                    self._work(batch)
                except UpdateFinishedTrialError:
                    self._ended_elsewhere([trial.number for trial in batch])
                except BaseException as error:
                    if blameless(error):
                        self._put_back([trial.number for trial in batch])
                    raise
                if self._nothing_is_left():
                    return

    def _put_back(self, numbers: Sequence[int]) -> None:
        """For the next call, as far as that goes: where the disk is full, the storage may be, too."""
        with suppress(Exception), self.claims.gate():
            put_back(self.study, numbers)

    # Asking ---------------------------------------------------------------------------------------

    def _ask(self) -> list[Trial]:
        """The next candidates to look at; none when enough are done or in work."""
        import optuna

        many = self.spec.proxies.candidates if self.spec.proxies else 1
        with self.claims.gate():
            take_back(self.study, self.claims, self.log)
            trials = self.study.get_trials(deepcopy=False)
            running = [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
            batches = {trial.user_attrs.get(BATCH, trial.number) for trial in running}  # each trains one
            done = sum(ended(trial) in COUNTED for trial in trials)
            if done + len(batches) >= self.spec.trials:
                return []
            begun = any(t.state == optuna.trial.TrialState.WAITING and RERUN in t.user_attrs for t in trials)
            if not begun and self._time_is_up():
                return []
            batch: list[Trial] = []
            while len(batch) < many:
                # Seeded by the trial's number: a study that was killed draws what it would have drawn.
                seed = seed_of(self.spec.seed, len(trials) + len(batch))
                self.study.sampler = sampler_of(self.spec.sampler, trials, seed)
                trial = self.study.ask()
                self.claims.take(trial.number)
                trial.set_user_attr("host", HOST)
                batch.append(trial)
                trial.set_user_attr(BATCH, batch[0].number)
                if RERUN in trial.user_attrs:  # chosen before it was interrupted
                    take_in(self.spec.sampler, trial)
                    for other in batch[:-1]:
                        self.ledger.tell(other, "outranked")
                    return [trial]
            return batch

    def _time_is_up(self) -> bool:
        """Whether the study's hours are over; then ``stopped`` says so."""
        hours = self.spec.max_hours
        if hours is None or (spent := self._clock.spent().hours) < hours:
            return False
        self.stopped = f"the {words(hours)} of max_hours are over ({words(spent)} spent)"
        return True

    def _nothing_is_left(self) -> bool:
        """Whether asking on is of no use; then ``stopped`` says why."""
        if self._known >= _KNOWN:
            self.stopped = (
                f"{self._known} candidates in a row were duplicates: the space is used up, or the sampler "
                "finds nothing new in it"
            )
        elif self._beyond >= _BEYOND:
            self.stopped = (
                "all the latest new candidates were beyond the limits, or what stages can do: these leave "
                "nothing of the space, or next to nothing"
            )
        return self.stopped is not None

    def _ended_elsewhere(self, numbers: Sequence[int]) -> None:
        """Go on without a trial that somebody ended, as by the command that another machine's log names."""
        with self.claims.gate():
            held = [number for number in numbers if self.claims.holds(number)]
            trials = self.study.get_trials(deepcopy=False)
            ended_now = [number for number in held if trials[number].state.is_finished()]
            put_back(self.study, held)
            for number in held:
                self.claims.drop(number)
        for number in ended_now:
            self.log(f"trial {number}: ended by somebody else while in work here; its net stays in the store")

    # Working --------------------------------------------------------------------------------------

    def _work(self, batch: list[Trial]) -> None:
        """Look at the candidates, train the one that is worth it, tell them all."""
        looked = [one for trial in batch if (one := self._look(trial)) is not None]
        if not looked:
            return
        self._known = 0
        chosen = looked[0]
        if self.spec.proxies is not None and len(looked) > 1:
            for one in looked:
                with suppress(CompressError):  # as of values that do not fit together: its training says so
                    one.proxy = self._asked(self.objective.proxy, one.candidate)
                    one.trial.set_user_attr("proxy", one.proxy)
            chosen = pick(looked, self.spec)
            with self.claims.gate():
                for one in looked:
                    if one is not chosen:
                        self.ledger.tell(one.trial, "outranked")
        if not self._is_refused(chosen):
            self._beyond = 0
            self._train(chosen.trial, chosen.candidate)

    def _is_refused(self, chosen: Looked) -> bool:
        """Whether it cannot go through the stages: known before it is trained, and told."""
        try:
            why = self._asked(self.objective.refusal, chosen.candidate)
        except CompressError as error:
            self._failed(chosen.trial, chosen.candidate, error)
            return True
        if why is not None:
            chosen.trial.set_user_attr("error", why)
            with self.claims.gate():
                self.ledger.tell(chosen.trial, "infeasible", chosen.costs)
            self._beyond += _TIMED
            self.log(f"trial {chosen.trial.number}: not trained: {why}")
        return why is not None

    def _look(self, trial: Trial) -> Looked | None:
        """What of a candidate is known without training; None when that settles it."""
        candidate = self.objective.sample(trial)
        trial.set_user_attr("candidate", candidate.to_dict())
        trial.set_user_attr("key", candidate.key)
        with self.claims.gate():
            if self.ledger.as_its_twin(trial, candidate.key):
                self._known += 1
                return None
        self._known = 0
        try:
            costs, over, effort = self._weighed(candidate)
        except CompressError as error:
            self._failed(trial, candidate, error)
            return None
        if over:
            with self.claims.gate():
                self.ledger.tell(trial, "infeasible", costs)
            self._beyond += effort
            self.log(f"trial {trial.number}: not trained, beyond its limits: {', '.join(over)}")
            return None
        return Looked(trial, candidate, costs)

    def _weighed(self, candidate: Candidate) -> tuple[dict[str, float], list[str], int]:
        """Its costs, which limits they break, and what it took to know that in looks of the usual kind."""
        costs = self._asked(self.objective.costs, candidate, False)
        over = self.ledger.beyond(costs)
        if over or "ms" not in self.ledger.bounds or "ms" in costs:
            return costs, over, 1
        costs = self._asked(self.objective.costs, candidate, True)  # timed only where that can decide
        return costs, self.ledger.beyond(costs), _TIMED

    def _asked(self, ask: Callable[..., T], *args: Any) -> T:
        return asked(ask, *args, log=self.note)

    def _train(self, trial: Trial, candidate: Candidate) -> None:
        trial.set_user_attr("began", time.time())
        since = time.monotonic()
        try:
            climbed = self._climbs(trial, candidate)
            values = self._asked(self.objective.evaluate, candidate) if climbed else {}
        except CompressError as error:
            trial.set_user_attr("seconds", round(time.monotonic() - since, 2))
            self._failed(trial, candidate, error)
            return
        trial.set_user_attr("seconds", round(time.monotonic() - since, 2))
        if not climbed:
            self.objective.forget(candidate)
        self._tell(trial, candidate, "evaluated" if climbed else "stopped", values)

    def _tell(
        self, trial: Trial, candidate: Candidate, outcome: Outcome, values: Mapping[str, Any] | None = None
    ) -> None:
        """What became of its training."""
        with self.claims.gate():
            # Another worker may have been faster; a whole training says more than one that was stopped.
            twins = EVALUATED if outcome == "evaluated" else TWINS
            if not self.ledger.as_its_twin(trial, candidate.key, twins):
                self.ledger.tell(trial, outcome, values)
                self._progress(trial.number, outcome, values or {})
            self.told()

    def _failed(self, trial: Trial, candidate: Candidate, error: CompressError) -> None:
        """This candidate alone, unless it is not to blame, the study's file is wrong, or none will do."""
        if blameless(error):
            raise error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        trial.set_user_attr("error", first)
        self.log(f"trial {trial.number}: failed: {first}")
        self._tell(trial, candidate, "failed")
        if isinstance(error, InputError) and not self.spec.stages:
            raise error  # a stage's is about this candidate, as when it cannot be pruned so far
        outcomes = [record.outcome for record in self.ledger.records() if record.outcome in COUNTED]
        if len(outcomes) >= _FAILURES and set(outcomes) == {"failed"}:
            raise CompressError(f"all of the first {len(outcomes)} candidates failed, the last: {error}")

    def _climbs(self, trial: Trial, candidate: Candidate) -> bool:
        """Whether it is among the best so far at every rung of its training."""
        fidelity, done = self.spec.fidelity, {}
        for epochs in fidelity.epochs[:-1] if fidelity else ():
            assert fidelity is not None
            done[epochs] = self._asked(self.objective.short, candidate, epochs)
            with self.claims.gate():
                trial.set_user_attr(RUNGS, done)
                if len(self.spec.objectives) == 1:  # a sampler ranks stopped trials by it; Optuna takes one
                    trial.report(done[epochs][self.spec.objectives[0]], epochs)
                there = [r for r in self.ledger.records() if r.outcome not in TRAINED_ELSEWHERE]
                peers = [record.rungs[epochs] for record in there if epochs in record.rungs]
                base, objectives = self.study.user_attrs[BASE], self.spec.objectives
                on = goes_on(done[epochs], peers, objectives, fidelity.keep, base)
            self.log(
                f"trial {trial.number}: after {epochs} epochs {line(done[epochs])}, "
                f"{'goes on' if on else f'not among the best of {len(peers)}'}"
            )
            if not on:
                return False
        return True

    def _progress(self, number: int, outcome: Outcome, values: Mapping[str, Any]) -> None:
        done = counted(self.ledger.records())
        told = line(values) if outcome == "evaluated" else outcome
        if outcome == "evaluated" and (over := self.ledger.beyond(values)):
            told += f", beyond its limits as measured: {', '.join(over)}"
        hours = self.spec.max_hours
        spent = f", {words(self._clock.spent().hours)} of {words(hours)}" if hours else ""
        self.log(f"trial {number} ({done} of {self.spec.trials}{spent}): {told}")
