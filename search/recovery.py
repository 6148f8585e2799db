"""Trials that were cut off: queued again with the same parameters, then ended as failed; in that order.

A kill between the two leaves a queued trial that says which one it runs again, so none is queued twice.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from search.claims import Claims

HOST = socket.gethostname()
RERUN = "rerun_of"  # the attribute of a trial that runs another one again


def take_back(study: optuna.Study, claims: Claims, log: Callable[[str], None]) -> None:
    """End RUNNING trials whose process died; inside the gate.

    One whose evaluation had begun is run again once: a candidate that twice ended its process is not tried
    a third time. Trials of other machines are theirs.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get(RERUN) for trial in trials}
    for trial in trials:
        said = trial.user_attrs
        if trial.state != TrialState.RUNNING or said.get("host", HOST) != HOST:
            continue
        if not claims.alone(trial.number):
            continue
        began, kills = "began" in said, said.get("kills", 0)
        again = kills == 0 if began else RERUN in said
        if again and trial.number not in queued:
            _queue(study, trial, kills + began)
        end(study, trial)
        log(f"trial {trial.number}: interrupted{'; it is run again' if again else ''}")


def put_back(study: optuna.Study, numbers: Iterable[int]) -> None:
    """End trials of this process that a Ctrl-C cut off; those chosen for training are queued again, however
    often that happens. Inside the gate."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get(RERUN) for trial in trials}
    for trial in (trials[number] for number in numbers):
        if trial.state != TrialState.RUNNING:
            continue
        if trial.number not in queued and trial.user_attrs.keys() & {"began", RERUN}:
            _queue(study, trial, trial.user_attrs.get("kills", 0))
        end(study, trial)


def end(study: optuna.Study, trial: FrozenTrial) -> None:
    """As interrupted."""
    from optuna.trial import TrialState

    study._storage.set_trial_user_attr(trial._trial_id, "outcome", "interrupted")
    study.tell(trial.number, state=TrialState.FAIL)


def _queue(study: optuna.Study, trial: FrozenTrial, kills: int) -> None:
    parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    study.enqueue_trial(parameters, user_attrs={RERUN: trial.number, "kills": kills})
