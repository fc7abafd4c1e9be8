"""What several verbs do on their way to the function under them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.cli import terminal
from recctl.cli.app import settings

if TYPE_CHECKING:
    from recctl.config import LoadedConfig
    from recctl.runs import Run, RunStore


def load_config(path: Path | None, overrides: list[str] | None) -> LoadedConfig:
    """The config that is named, or the one found; which one is told."""
    from recctl import experiment
    from recctl.config import find_config

    apply_threads()
    if path is None:
        path, why = find_config()
        terminal.info(f"config: {path} ({why})")
    return experiment.load(path, overrides or [])


def apply_threads() -> None:
    """Do as --threads says."""
    if settings.threads is not None:
        from recctl import engines

        engines.set_threads(settings.threads)


def engine_overrides(engine: str | None) -> list[str]:
    """What --engine says, as overrides of a config."""
    if engine is None:
        return []
    name, _, address = engine.partition("=")
    return [f"engine.name={name}", *([f"engine.address='{address}'"] if address else [])]


def on_engine(engine: str | None) -> AbstractContextManager[Any]:
    """A block that computes on what --engine says, whatever a run was made on.

    Raises:
        ConfigError: There is no such engine, or no cluster at the address.
    """
    from recctl import engines
    from recctl.config.schema import EngineConfig
    from recctl.errors import ConfigError

    if engine is None:
        return engines.opened(None)
    name, _, address = engine.partition("=")
    if name not in ("local", "ray"):
        raise ConfigError(f"--engine {engine!r}: must be local, ray or ray=ADDRESS")
    return engines.opened(EngineConfig(name=name, address=address or None))


def store() -> RunStore:
    """The runs that --runs-dir or the environment means."""
    from recctl.runs import RunStore

    return RunStore(settings.runs_dir)


def names_of_runs(store: RunStore) -> dict[str, list[str]]:
    """The names of each run; none if they can't be read, which is told."""
    from recctl.errors import ArtifactError

    try:
        return store.aliases.runs()
    except ArtifactError as error:
        terminal.info(f"names are not shown: {error}")
        return {}


def describe(run: Run, **more: Any) -> dict[str, Any]:
    """The keys of every JSON answer about a run."""
    return {
        "run_id": run.id,
        "path": str(run.path),
        "status": run.status,
        "kind": run.metadata.get("kind"),
        "metrics": run.metrics(),
        "models": run.metadata.get("models", []),
        "timings": run.metadata.get("timings", {}),
        "data_hash": run.metadata.get("data", {}).get("hash"),
        "split_hash": run.metadata.get("split", {}).get("hash"),
        **more,
    }


def say_test_looks(run: Run) -> int:
    """Tell how often test was read for this data and split, from the second time on."""
    from recctl.runs.store import run_hashes

    data, split = run_hashes(run)
    looks = store().count_test_evaluations(data or "", split or "")
    if looks > 1:
        terminal.info(
            f"The test set of this split was evaluated {looks} times in {store().root}; choose models on validation."
        )
    return looks
