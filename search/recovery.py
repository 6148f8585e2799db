"""Trials that were cut off: queued again with the same parameters, then ended as failed; in that order.

A kill between the two leaves a queued trial that says which one it runs again, so none is queued twice.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from search.claims import Claims, user

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

HOST = f"{user()}@{socket.gethostname()}"  # whose locks are one where the trials lie on a server
_ASKING_S = 60.0  # far more than it takes
RERUN = "rerun_of"  # the attribute of a trial that runs another one again


def take_back(study: optuna.Study, claims: Claims, log: Callable[[str], None]) -> None:
    """End RUNNING trials whose process died; inside the gate.

    One whose evaluation had begun is run again once: a candidate that twice ended its process is not tried
    a third time. Where the claims lie beside the trials they decide, whatever the machine was called then: a
    container has a new name after each start. Of trials on a server only this machine's are taken back. It
    cannot be known whether another one still works on its own, so ``log`` gets, once, which these are and
    how to end them.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    queued = {trial.user_attrs.get(RERUN) for trial in trials}
    elsewhere: defaultdict[str, list[int]] = defaultdict(list)
    for trial in trials:
        said = trial.user_attrs
        if trial.state != TrialState.RUNNING:
            continue
        if not claims.complete and (host := said.get("host") or _unnamed(trial)) != HOST:
            elsewhere[host].append(trial.number)
            continue
        if not claims.alone(trial.number):
            continue
        began, kills = "began" in said, said.get("kills", 0)
        again = kills == 0 if began else RERUN in said
        if again and trial.number not in queued:
            _queue(study, trial, kills + began)
        end(study, trial)
        log(f"trial {trial.number}: interrupted{'; it is run again' if again else ''}")
    for host, numbers in elsewhere.items():
        if new := sorted(set(numbers) - claims.left_alone):
            claims.left_alone.update(new)
            log(_of_another(study.study_name, host, new))


def _unnamed(trial: FrozenTrial) -> str:
    """Whose a trial is that does not say so: killed right after it was asked for, or just being asked for."""
    began = trial.datetime_start
    age = (datetime.now() - began).total_seconds() if began is not None else 0.0
    return HOST if age > _ASKING_S else "another machine"


def _of_another(name: str, host: str, numbers: list[int]) -> str:
    command = f"optuna tell --storage URL --study-name {name} --trial-number {numbers[0]} --state fail"
    listed, it = f"trial {numbers[0]}", "it"
    if numbers[1:]:
        listed, it = f"trials {', '.join(map(str, numbers))}", "each"
    return f"{listed}: in work on {host}, left alone. If nothing runs there any more, end {it}: {command}"


def put_back(study: optuna.Study, numbers: Iterable[int]) -> None:
    """End trials of this process that a Ctrl-C cut off, or what none of them is to blame for; those chosen
    for training are queued again, however often that happens. Inside the gate."""
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
    proxy = {key: value for key, value in trial.user_attrs.items() if key == "proxy"}
    study.enqueue_trial(parameters, user_attrs={RERUN: trial.number, "kills": kills, **proxy})
