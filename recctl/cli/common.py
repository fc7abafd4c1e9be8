"""Helpers that several commands share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.cli import terminal
from recctl.cli.settings import settings

if TYPE_CHECKING:
    from recctl.config import LoadedConfig
    from recctl.runs import Run, RunStore

CONFIG_SUFFIXES = (".yaml", ".yml")


def load_config(path: Path | None, overrides: list[str] | None) -> LoadedConfig:
    """Load the given config, or the default one, whose path is printed."""
    # Imported here, as in every command: experiment imports pandas and the models, for which `--help` must not wait.
    from recctl import experiment

    apply_threads()
    return experiment.load(path or default_config(), overrides or [])


def default_config() -> Path:
    """Find the config that is used when none is given, and print its path and why it was chosen."""
    from recctl.config import find_config

    config_path, reason = find_config()
    terminal.info(f"config: {config_path} ({reason})")
    return config_path


def apply_threads() -> None:
    """Set the number of threads to the value of --threads, if it is given."""
    if settings.threads is not None:
        from recctl import engines

        engines.set_threads(settings.threads)


def engine_overrides(engine: str | None) -> list[str]:
    """Return the value of --engine as config overrides."""
    if engine is None:
        return []
    # Quoted, since YAML would read an address such as 10.0.0.1:6379 as something else.
    engine_name, _, address = engine.partition("=")
    overrides = [f"engine.name={engine_name}"]
    if address:
        overrides.append(f"engine.address='{address}'")
    return overrides


def warm_start_overrides(reference: str | None) -> list[str]:
    """Return the value of --warm-start as config overrides."""
    # Quoted, since YAML would read the beginning of an id as a number.
    return [] if reference is None else [f"training.warm_start={json.dumps(reference)}"]


def store_report(run: Run) -> None:
    """Store the report of a run with its record in MLflow, if it is tracked there, and say where this is."""
    tracked = run.metadata.get("tracking")
    if not tracked:
        return
    # Imported for tracked runs only: reports import plotly.
    from recctl.reports import tracked_report

    tracked_report.store_report(run)
    if "page" in tracked.get("mlflow", {}):
        terminal.info(f"mlflow: {tracked['mlflow']['page']}")


def on_engine(engine: str | None) -> AbstractContextManager[Any]:
    """Return a context that computes on the engine of --engine, whatever engine the run was created with.

    Raises:
        ConfigError: The engine is unknown, or there is no cluster at the address.
    """
    from recctl import engines
    from recctl.config.schema import EngineConfig
    from recctl.errors import ConfigError

    if engine is None:
        return engines.opened(None)
    engine_name, _, address = engine.partition("=")
    if engine_name not in ("local", "ray"):
        raise ConfigError(f"--engine {engine!r}: must be local, ray or ray=ADDRESS")
    # Not through the config: an existing run keeps the one that it was created with.
    return engines.opened(EngineConfig(name=engine_name, address=address or None))


def store() -> RunStore:
    """Return the store of the directory given by --runs-dir or the environment."""
    from recctl.runs import RunStore

    return RunStore(settings.runs_dir)


def aliases_by_run(store: RunStore) -> dict[str, list[str]]:
    """Return the aliases of each run id; if they cannot be read, none, and the reason is printed."""
    from recctl.errors import ArtifactError

    try:
        return store.aliases.runs()
    except ArtifactError as error:
        # Listing runs must work while an alias file is damaged; `runs verify` reports it.
        terminal.info(f"aliases are not shown: {error}")
        return {}


def describe(run: Run, **more: Any) -> dict[str, Any]:
    """Return the keys that every JSON document about a run has, and `more`."""
    return {
        "run_id": run.id,
        "path": str(run.path),
        "status": run.status,
        "kind": run.metadata.get("kind"),
        "metrics": run.metrics(),
        "segments": run.segments(),
        "models": run.metadata.get("models", []),
        "timings": run.timings,
        "data_hash": run.metadata.get("data", {}).get("hash"),
        "split_hash": run.metadata.get("split", {}).get("hash"),
    } | more


def print_segments(segments: Mapping[str, Mapping[str, Any]], run: Run) -> None:
    """Print a table with a row for each segment and part: the metric that the run monitors, with its interval.

    Args:
        segments: By part and key, as `EvaluationRecord.segments`.
        run: The run that they belong to.
    """
    segments = {part: of_part for part, of_part in segments.items() if of_part}
    if not segments:
        return
    measured = {
        metric_key: None
        for of_part in segments.values()
        for record in of_part.values()
        for metric_key in record["metrics"]
    }
    monitor = run.metadata.get("monitor") or run.metadata.get("lists", {}).get("monitor") or {}
    monitored = monitor.get("metric")
    metric = monitored if monitored in measured else next(iter(measured), None)
    rows = []
    for part, of_part in segments.items():
        for key, record in of_part.items():
            name = f"{key} ({record['range']})" if record.get("range") else key
            figure = record["metrics"].get(metric) or {}
            interval = format_interval(figure.get("low"), figure.get("high"))
            rows.append([name, part, terminal.Count(record["n_users"]), figure.get("value"), interval])
    terminal.table(["segment", "measured on", "users", metric or "metric", "95% interval"], rows)


def format_interval(low: float | None, high: float | None) -> str | None:
    """Return the ends of an interval as text; None if there is none."""
    if low is None or high is None:
        return None
    # Adding 0 turns -0, which a bound of rounding errors is rounded to, into 0.
    return f"{round(low, 4) + 0:.4f} to {round(high, 4) + 0:.4f}"


def add_titles(records: list[dict[Any, Any]], run: Run, columns: Mapping[str, str]) -> list[str]:
    """Add the titles of items to records, if the run has any.

    Args:
        records: Records with item ids; they are changed.
        run: The run whose titles are used.
        columns: For each key of an item id, the key that its title gets; it is added after all others, so that scripts
            that count columns keep working.

    Returns:
        The keys that were added.
    """
    from recctl.experiment import run_titles

    titles = run_titles(run)
    if not len(titles):
        return []
    for id_key, title_key in columns.items():
        for record, title in zip(records, titles.of([record[id_key] for record in records]), strict=True):
            record[title_key] = title
    return list(columns.values())


def notice_new_protocol() -> None:
    """Say, once in a runs directory with figures of versions before 0.3, that their thresholds need another look."""
    runs = store()
    marker = runs.root / ".protocol-2"
    if marker.exists() or not any(run.has_figures_of_version_1 for run in runs.runs()):
        return
    terminal.info(
        "recctl before 0.3 counted items of validation as misses on test, and ordered equal scores by item id. Figures "
        "have changed: check the thresholds of --assert (evaluation.exclude: train masks what it masked). Shown once."
    )
    with suppress(OSError):  # a directory that can only be read
        marker.touch()


def print_test_evaluations(run: Run) -> int:
    """Print how often the test set of this split was evaluated, from the second time on.

    Returns:
        The number of evaluations.
    """
    from recctl.runs.store import run_hashes

    data_hash, split_hash = run_hashes(run)
    n_evaluations = store().count_test_evaluations(data_hash or "", split_hash or "")
    # The first look is what the test set is for; each further one makes the estimate more optimistic.
    if n_evaluations > 1:
        terminal.info(
            f"The test set of this split was evaluated {n_evaluations} times in {store().root}; "
            "choose models on validation."
        )
    return n_evaluations
