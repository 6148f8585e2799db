"""A study from its file to its last trial, by this process or by several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError, InputError, of_system, os_error, told
from search import finals, outputs
from search.claims import Claims
from search.clock import Clock
from search.folder import StudyFolder
from search.protocol import Objective
from search.records import BASE, Record, counted
from search.samplers import blind_to_limits, blind_to_rungs, left_to_chance
from search.spec import StudySpec
from search.storage import open_study
from search.study import Loop

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.queues import SimpleQueue

    import optuna

Log = Callable[[str], None]
Make = Callable[[StudySpec, Log, Log], Objective]
_GRACE_S = 5.0  # for workers to end by themselves


def conduct(
    spec: StudySpec, folder: StudyFolder, make: Make, log: Log, going: Callable[[], bool] = lambda: True
) -> str | None:
    """Go on with the study in ``folder`` until its trials are done or its hours are over.

    Args:
        make: the objective of this or another process, of the study, its log and one for details; a function
            of a module.
        going: asked before each trial where there is one worker; it asks on while this is so.

    Returns:
        Why it ended before all trials were done, else None.

    Raises:
        InputError, CompressError: as ``Loop.run``; also where another worker raised it, or died.
    """
    objective = make(spec, log, folder.log)
    study = open_study(spec, folder.path)
    if (base := study.user_attrs.get(BASE)) is not None:
        objective.take_up(base)
    else:
        outputs.clear(folder.path)
        with Clock(study):
            _begin(study, objective, Claims.of(spec.storage, spec.name, folder.path))
        if line := left_to_chance(spec.sampler, objective.sample):
            log(line)
        if spec.fidelity and (line := blind_to_rungs(spec.sampler)):
            log(line)
        if spec.limits and (line := blind_to_limits(spec.sampler)):
            log(line)
    if spec.workers > 1:
        stopped = _if_left(_side_by_side(spec, folder, make), spec, finals.records_of(study))
    else:
        stopped = _loop(spec, folder, study, objective, log, going)
    if isinstance(objective, finals.Finishing):
        with Clock(study):
            finals.finish(spec, study, objective, folder.path, log, folder.log)
    return stopped


def _begin(study: optuna.Study, objective: Objective, claims: Claims) -> None:
    """Measure the baseline and note it, unless another process of this new study was faster: what it told
    its trials beside must not change."""
    values = objective.baseline_values()
    with claims.gate():
        base = study.user_attrs.get(BASE)  # read from the storage, each time
        if base is None:
            study.set_user_attr(BASE, values)
            return
    objective.take_up(base)


def _loop(
    spec: StudySpec,
    folder: StudyFolder,
    study: optuna.Study,
    objective: Objective,
    log: Log,
    going: Callable[[], bool] = lambda: True,
) -> str | None:
    claims = Claims.of(spec.storage, spec.name, folder.path)
    loop = Loop(spec, study, objective, claims, log, folder.log, going=going)

    def told() -> None:
        if folder.is_of(spec):  # a worker that outlived its parent may find another study there
            outputs.write(folder.path, spec, finals.records_of(study), study.user_attrs[BASE])

    loop.told = told
    loop.run()
    return loop.stopped


def _side_by_side(spec: StudySpec, folder: StudyFolder, make: Make) -> str | None:
    """Workers in processes of their own, each with as many threads as its share of the cores; what is stored
    already they need not compute again."""
    context = multiprocessing.get_context("spawn")
    ended: Any = context.SimpleQueue()
    share = str(max(1, (os.cpu_count() or 1) // spec.workers))
    workers = [
        context.Process(target=_worker, args=(spec.canonical(), folder, make, os.getpid(), ended))
        for _ in range(spec.workers)
    ]
    unset = "OMP_NUM_THREADS" not in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", share)  # inherited: a worker has loaded torch by its first line
    try:
        for worker in workers:
            worker.start()
    finally:
        if unset:
            del os.environ["OMP_NUM_THREADS"]
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        _interrupt(workers)
        raise
    said = [ended.get() for _ in workers if not ended.empty()]
    for kind, problems in said:
        if kind == "input":
            raise InputError(problems)
        if kind == "failed":
            raise CompressError(problems[0])
    if len(said) < len(workers):
        codes = ", ".join(str(worker.exitcode) for worker in workers)
        raise CompressError(f"a worker died (exit codes {codes}); the same command goes on from here")
    return next((problems[0] for kind, problems in said if kind == "stopped"), None)


def _if_left(why: str | None, spec: StudySpec, records: Sequence[Record]) -> str | None:
    """Why one worker ended, where the others have not gone on until all trials were done."""
    return why if counted(records) < spec.trials else None


def _interrupt(workers: Sequence[BaseProcess]) -> None:
    """After a Ctrl-C, which they got, too: each queues its trial again. What was sent to this process alone,
    as by ``kill -INT``, is passed on."""
    over = time.monotonic() + _GRACE_S
    for worker in workers:
        worker.join(max(0.0, over - time.monotonic()))
    for worker in workers:
        if worker.is_alive() and worker.pid is not None:
            os.kill(worker.pid, signal.SIGINT)
    for worker in workers:
        worker.join()


def _worker(
    content: dict[str, Any],
    folder: StudyFolder,
    make: Make,
    parent: int,
    ended: SimpleQueue[tuple[str, tuple[str, ...]]],
) -> None:
    """One process; it ends when its parent has."""
    spec = StudySpec.model_validate(content)

    def log(line: str) -> None:
        folder.log(line)
        print(line, flush=True)

    try:
        study = open_study(spec, folder.path)
        objective = make(spec, log, folder.log)
        objective.take_up(study.user_attrs[BASE])
        stopped = _loop(spec, folder, study, objective, log, lambda: os.getppid() == parent)
        ended.put(("done", ()) if stopped is None else ("stopped", (stopped,)))
    except InputError as error:
        ended.put(("input", error.problems))
    except CompressError as error:
        ended.put(("failed", (str(error),)))
    except Exception as error:
        ended.put(("failed", (_unexpected(error, folder),)))
    except KeyboardInterrupt:
        ended.put(("interrupted", ()))


def _unexpected(error: Exception, folder: StudyFolder) -> str:
    """What no candidate is to blame for, in a line; its traceback is for the log file."""
    with suppress(OSError):  # the disk may be full
        folder.log(traceback.format_exc().rstrip())
    if (failed := os_error(error)) is not None:
        return of_system(failed)
    return f"a worker ended: {told(error)} ({folder.path}/log.txt shows where)"
