"""Databases that hold the trials of searches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy

from recctl.errors import ArtifactError, ConfigError, DataError
from recctl.runs.environment import redact_passwords
from recctl.tuning.cached_storage import CachedStorage

# The attribute of a study that says what it is of.
_IDENTITY = "recctl"


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """The database of a URL, with its tables.

    Raises:
        ConfigError: It can't be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        # Searches that begin at once all make the tables of an empty database: one can, the others try again.
        for _ in range(4):
            try:
                return _opened(url)
            except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):  # PostgreSQL's
                pass
            except sqlalchemy.exc.OperationalError:  # SQLite's, and what it raises for much else
                if not _has_tables(url):
                    raise
            time.sleep(0.5)
        return _opened(url)
    except ImportError as error:
        raise ConfigError(f"storage {redact_passwords(url)}: {error}; pip install 'recctl[postgres]'") from None
    except Exception as error:  # whatever a database driver raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"storage {redact_passwords(url)}: can't be opened: {reason}") from error


def own_storage(path: Path) -> CachedStorage:
    """The database in a run.

    Raises:
        ArtifactError: It can't be made, or is damaged.
    """
    try:
        return CachedStorage(open_storage(f"sqlite:///{path}"))
    except ConfigError as error:
        raise ArtifactError(str(error)) from error


# What a database that fails raises.
FAILURES = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)


@contextmanager
def failures_told(where: str) -> Iterator[None]:
    """A block in which a database that fails is an error of ours.

    Raises:
        ArtifactError: It has; names it and why.
    """
    try:
        yield
    except FAILURES as error:
        reason = redact_passwords(str(error.__cause__ or error).splitlines()[0])
        raise ArtifactError(f"{where}: {reason}; the trials that were told before are kept") from error


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    directions: Sequence[Literal["min", "max"]],
    identity: Mapping[str, Any],
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """The study of a name, made if there is none.

    Args:
        storage: Where it is.
        name: The study's.
        directions: Of each metric.
        identity: What its trials must have in common.
        pruner: What ends trials that do badly.

    Raises:
        DataError: The study is there and has trials of something else.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        load_if_exists=True,
        directions=["maximize" if direction == "max" else "minimize" for direction in directions],
        pruner=pruner,
    )
    # Through JSON, as the storage gives it back.
    wanted = json.loads(json.dumps(identity))
    found = study.user_attrs.get(_IDENTITY)
    if found is None:
        study.set_user_attr(_IDENTITY, wanted)
    elif found != wanted:
        differing = ", ".join(key for key in wanted if found.get(key) != wanted[key])
        raise DataError(f"study {name!r} has trials of another {differing}; give this search a --study of its own")
    return study


def _has_tables(url: str) -> bool:
    """Whether somebody has made tables in a database; False if it can't be read."""
    engine = sqlalchemy.create_engine(url)
    try:
        return bool(sqlalchemy.inspect(engine).get_table_names())
    except sqlalchemy.exc.SQLAlchemyError:
        return False
    finally:
        engine.dispose()


def _opened(storage: str) -> optuna.storages.RDBStorage:
    if not storage.startswith("sqlite:"):
        # Which driver SQLAlchemy takes by itself depends on its version.
        url = storage.replace("postgresql://", "postgresql+psycopg://", 1)
        return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    opened = optuna.storages.RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": 60}})

    @sqlalchemy.event.listens_for(opened.engine, "connect")
    def _(connection: Any, _: Any) -> None:
        # A commit waits for no disk: what is told survives the process, if not the machine.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    opened.engine.dispose()
    return opened
