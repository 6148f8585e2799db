"""Where a study's trials are kept, so that a kill at any moment leaves all that was told."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import InputError
from search.spec import StudySpec

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

_WAIT_S = 120  # for another worker's write
_KEY = "beyondnas"


def open_study(spec: StudySpec, folder: Path) -> optuna.Study:
    """The study of this file, made or taken up again.

    Raises:
        InputError: the storage cannot be opened, or holds another study of that name.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # our own lines say more
    storage = open_storage(spec.storage, folder)
    try:
        study = optuna.create_study(
            storage=storage, study_name=spec.name, directions=spec.directions, load_if_exists=True
        )
    except ValueError as error:
        raise InputError(f"storage: {spec.storage}: {error}") from error
    known = study.user_attrs.get(_KEY)
    if known != spec.identity and (known is not None or not _new(study, spec)):
        raise InputError(
            f"storage: {spec.storage} holds another study of the name {spec.name}: set name or storage"
        )
    if known is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(spec.objectives))
        study.set_user_attr(_KEY, spec.identity)  # the last: after a kill in between all is done again
    return study


def _new(study: optuna.Study, spec: StudySpec) -> bool:
    """Whether nobody has worked on it: just made, or ours and killed while it was made. Another program's, in
    the user's database, is not for us to add to."""
    directions = [one.name.lower() for one in study.directions]
    return directions == spec.directions and not study.get_trials(deepcopy=False)


def open_storage(kind: str, folder: Path) -> BaseStorage:
    """``sqlite`` and ``journal`` lie in ``folder``, anything else is a URL.

    Raises:
        InputError: there is no such database, it is damaged, or its driver is not installed.
    """
    import optuna
    from sqlalchemy import event
    from sqlalchemy.exc import SQLAlchemyError

    if kind == "journal":
        from optuna.storages import JournalStorage

        from search.journal import backend

        return JournalStorage(backend(folder / "journal.log"))
    if kind == "sqlite":
        file = folder / "study.db"
        kind = f"sqlite:///{file}"
        try:
            with closing(sqlite3.connect(file)) as connection:
                _append(connection)  # before Optuna makes its tables
        except sqlite3.DatabaseError as error:
            raise InputError(f"storage: {file}: {error}; to begin anew move {folder} away") from error
    if kind.removeprefix("sqlite://") in ("", "/", "/:memory:"):
        raise InputError(f"storage: {kind} is gone when its process ends: name a file, sqlite:///study.db")
    lite = kind.startswith("sqlite:")
    try:
        storage = optuna.storages.RDBStorage(
            kind, engine_kwargs={"connect_args": {"timeout": _WAIT_S}} if lite else None
        )
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        raise InputError(f"storage: {kind}: {str(error).splitlines()[0]}") from error
    if lite:
        storage.engine.dispose()
        event.listen(storage.engine, "connect", lambda connection, record: _append(connection))
    return storage


def _append(connection: sqlite3.Connection) -> None:
    """Commits append to a log beside the file and wait for no disk, which takes 20 ms for each of a trial's
    twenty. A kill loses nothing, a power cut the last ones; either leaves the file whole."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
