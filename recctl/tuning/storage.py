"""Optuna storages: the SQLite database of a run, and databases that several searches share."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy

from recctl.errors import ArtifactError, ConfigError, DataError
from recctl.runs.environment import redact_passwords
from recctl.tuning.cached_storage import CachedStorage

# User attributes of a study: the run that created it, and what all of its trials have in common.
RUN_KEY = "run_id"
_IDENTITY_KEYS = {
    "data": "data_hash",
    "split": "split_hash",
    "windows": "windows",
    "model": "model",
    "monitors": "monitors",
    "strategy": "strategy",
    "space": "space",
}
# Versions before 0.3 stored what trials have in common as one attribute.
_OLD_IDENTITY_KEY = "recctl"
ANOTHER_NAME = "choose another name with --study"
_OPEN_ATTEMPTS = 5
_RETRY_SECONDS = 0.5
# Characters of a value in an error message, such as a hash.
_MAX_SHOWN = 60


def open_storage(url: str, *, is_new: bool = False) -> optuna.storages.RDBStorage:
    """Open the database at a URL; creates its tables if there are none.

    Args:
        url: SQLAlchemy's URL of the database.
        is_new: Whether the database was created for this call. Its tables are not compared with those of the installed
            Optuna, which would load all migrations again and take as long as to create them.

    Raises:
        ConfigError: The database cannot be opened, or its driver is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        # Searches that start at the same time all try to create the tables; one succeeds, the others retry.
        for _ in range(_OPEN_ATTEMPTS - 1):
            try:
                return _opened(url, is_new)
            except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):  # raised by PostgreSQL
                pass
            except sqlalchemy.exc.OperationalError:  # raised by SQLite, for this and many other reasons
                if not _has_tables(url):
                    raise
            time.sleep(_RETRY_SECONDS)
        return _opened(url, is_new)
    except ImportError as error:
        raise ConfigError(f"storage {redact_passwords(url)}: {error}; pip install 'recctl[postgres]'") from None
    except Exception as error:  # drivers raise exceptions of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"storage {redact_passwords(url)}: cannot be opened: {reason}") from error


@contextmanager
def closing_storage(storage: optuna.storages.RDBStorage | None) -> Iterator[None]:
    """A context that closes the connections of a database, if there is one."""
    try:
        yield
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def own_storage(path: Path) -> CachedStorage:
    """Open the database of a run, `study.db`.

    Raises:
        ArtifactError: The database cannot be created, or is damaged.
    """
    try:
        # SQLite itself creates files that the group can't write, whatever the umask says.
        is_new = not path.exists()
        if is_new:
            path.touch()
        return CachedStorage(open_storage(f"sqlite:///{path}", is_new=is_new))
    except ConfigError as error:
        raise ArtifactError(str(error)) from error
    except OSError as error:
        raise ArtifactError(f"{path}: can't be created ({error.strerror})") from error


def close_own_storage(storage: optuna.storages.BaseStorage) -> None:
    """Close the database of a run; who opened a shared one closes it."""
    if isinstance(storage, CachedStorage):
        storage.close()


# Exceptions of a database that fails.
STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)


@contextmanager
def translate_storage_errors(location: str) -> Iterator[None]:
    """Turn the exceptions of a failing database into an error that names the database.

    Raises:
        ArtifactError: With the location and the reason.
    """
    try:
        yield
    except STORAGE_ERRORS as error:
        reason = redact_passwords(str(error.__cause__ or error).splitlines()[0])
        raise ArtifactError(f"{location}: {reason}; finished trials are kept") from error


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    directions: Sequence[Literal["min", "max"]],
    identity: Mapping[str, Any],
    pruner: optuna.pruners.BasePruner,
    hint: str,
) -> optuna.Study:
    """Open a study, or create it.

    Args:
        storage: Storage of the study.
        name: Name of the study.
        directions: Optimization direction of each metric.
        identity: What all trials of the study must have in common.
        pruner: Optuna's pruner.
        hint: What to do if the study has another identity.

    Raises:
        DataError: The study exists with another identity. Nothing was changed.
    """
    require_same_study(storage, name, identity, hint)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        load_if_exists=True,
        directions=["maximize" if direction == "max" else "minimize" for direction in directions],
        pruner=pruner,
    )
    attributes = study.user_attrs
    if _OLD_IDENTITY_KEY not in attributes:
        for name, value in _as_stored(identity).items():
            if _IDENTITY_KEYS[name] not in attributes:
                study.set_user_attr(_IDENTITY_KEYS[name], value)
    return study


def describe_study(study: optuna.Study, run_id: str, metric_names: Sequence[str]) -> None:
    """Store the run and the names of the metrics with a study, for users of Optuna's tools, if it has none."""
    if RUN_KEY not in study.user_attrs:
        study.set_user_attr(RUN_KEY, run_id)
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(metric_names))


def require_same_study(
    storage: optuna.storages.BaseStorage, name: str, identity: Mapping[str, Any], hint: str = ANOTHER_NAME
) -> None:
    """Check that a study, if it exists, has trials that can be compared with those of this search.

    Args:
        storage: Storage of the study; it is only read.
        name: Name of the study.
        identity: What the trials must have in common, or a part of it. What a study of an earlier version does not
            store is not compared.
        hint: What to do otherwise.

    Raises:
        DataError: It has other trials.
    """
    stored = stored_identity(storage, name)
    differing = [
        f"{attribute_name} ({_short(stored[attribute_name])}, not {_short(value)})"
        for attribute_name, value in _as_stored(identity).items()
        if attribute_name in stored and stored[attribute_name] != value
    ]
    if differing:
        raise DataError(f"study {name!r} has trials with another {', '.join(differing)}; {hint}")


def _as_stored(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as the storage returns it: through JSON, tuples become lists."""
    stored: dict[str, Any] = json.loads(json.dumps(identity))
    return stored


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def stored_identity(storage: optuna.storages.BaseStorage, name: str) -> dict[str, Any]:
    """The identity of a study as it is stored; empty if there is no such study."""
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return {}
    attributes = storage.get_study_user_attrs(study_id)
    if _OLD_IDENTITY_KEY in attributes:
        identity: dict[str, Any] = attributes[_OLD_IDENTITY_KEY]
        return identity
    return {name: attributes[key] for name, key in _IDENTITY_KEYS.items() if key in attributes}


def _has_tables(url: str) -> bool:
    """Whether a database has tables; False if it cannot be read."""
    engine = sqlalchemy.create_engine(url)
    try:
        return bool(sqlalchemy.inspect(engine).get_table_names())
    except sqlalchemy.exc.SQLAlchemyError:
        return False
    finally:
        engine.dispose()


def _opened(storage: str, is_new: bool) -> optuna.storages.RDBStorage:
    if not storage.startswith("sqlite:"):
        # Name the driver: SQLAlchemy's default depends on its version.
        database_url = storage.replace("postgresql://", "postgresql+psycopg://", 1)
        return optuna.storages.RDBStorage(database_url, engine_kwargs={"pool_pre_ping": True})
    opened = optuna.storages.RDBStorage(
        storage, engine_kwargs={"connect_args": {"timeout": 60}}, skip_compatibility_check=is_new
    )

    @sqlalchemy.event.listens_for(opened.engine, "connect")
    def _(connection: Any, _: Any) -> None:
        # Commits do not wait for the disk: trials survive a killed process, though not a power failure.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    opened.engine.dispose()
    return opened
