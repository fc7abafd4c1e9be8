"""The commands of the command line as functions: train, split, fit, resume, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recctl import arguments, artifacts, engines
from recctl.arguments import at_least, many, of_type, one_of, optional, text, validated
from recctl.config import LoadedConfig
from recctl.data.splitting import all_train
from recctl.errors import ArtifactError, ConfigError
from recctl.evaluation.options import metric_problems
from recctl.experiment import stages, stored_models
from recctl.experiment.all_data import epochs_to_train
from recctl.experiment.comparison.backtest import plan_windows
from recctl.experiment.data import Prepared
from recctl.experiment.estimate import refuse_if_too_large
from recctl.experiment.lifecycle import begin, prepare_for, recording, resume_command
from recctl.experiment.newer_test import split_since
from recctl.experiment.run_config import load_run_config, refuse_overrides_of_complete
from recctl.experiment.secondary_data import notice_left_out, read_secondary
from recctl.experiment.segments import AttributeTables, counts_of_models, make_segments
from recctl.experiment.trackers import require_trackers
from recctl.experiment.warm_start import (
    begin_from,
    drop_model,
    find_warm_start,
)
from recctl.models.base.rating_metrics import require_meaningful
from recctl.runs import Run, RunStore, layout
from recctl.runs.checks import a_run, a_store
from recctl.runs.evaluations import EvaluationRecord
from recctl.training.checkpoints import load_checkpoint

_RESUMABLE_KINDS = ("train", "fit", "split")


_a_config = of_type(LoadedConfig, "a config, as recctl.experiment.load('recctl.yaml') returns")
_a_part = one_of("validation", "test")
_metric_names = many(text, "['ndcg', 'recall']")
_cutoffs = many(at_least(1), "[10]")


@validated(loaded=_a_config, store=optional(a_store), test_since=optional(a_run))
def train(loaded: LoadedConfig, store: RunStore | None = None, test_since: Run | None = None) -> Run:
    """Split, fit, evaluate and save, as one run.

    Models are chosen on validation. Test is evaluated once, at the end: with the model fitted on train, or, if
    `training.refit` is set, with the one fitted on train + validation.

    Args:
        loaded: The config.
        store: The runs directory; the default one if None.
        test_since: A run; test is everything after the last moment that its model was fitted on, instead of the test
            part of the config's split.

    Raises:
        RecctlError: The run failed; if it was created, its metadata records the error.
    """
    store = store or RunStore()
    _require_feasible(loaded)
    loaded, warm_start = find_warm_start(loaded, store)
    make_split = None if test_since is None else split_since(test_since, loaded.config)
    with engines.opened(loaded.config.engine):
        prepared, seconds = prepare_for(loaded, make_split=make_split)
        run = begin_from(store, loaded, "train", prepared, seconds, warm_start=warm_start)
        with recording(run, loaded.config) as trackers:
            stages.fit_and_evaluate(run, loaded.config, prepared, trackers)
            drop_model(run)
    return run


@validated(loaded=_a_config, store=optional(a_store), export=optional(arguments.path))
def split(loaded: LoadedConfig, store: RunStore | None = None, export: str | Path | None = None) -> Run:
    """Create a run that contains only the split.

    Args:
        loaded: The config.
        store: The runs directory; the default one if None.
        export: A folder to write the parts to, as Parquet files.
    """
    prepared, seconds = prepare_for(loaded, models=[], evaluates=False)
    windows: dict[str, Any] = {}
    if loaded.config.split.strategy == "rolling":
        # The run's split is that of the newest window.
        windows["windows"] = plan_windows(prepared.dataset, loaded.config)
    run = begin(store or RunStore(), loaded, "split", prepared, seconds, **windows)
    with recording(run):
        if export is not None:
            _export_parts(prepared, export)
    return run


@validated(loaded=_a_config, store=optional(a_store), parent=optional(a_run))
def fit(loaded: LoadedConfig, store: RunStore | None = None, parent: Run | None = None) -> Run:
    """Fit a model and save it, without evaluation.

    Args:
        loaded: The config.
        store: The runs directory; the default one if None.
        parent: A run whose split is used; a new split is made if None.

    Raises:
        ConfigError: The parent was fitted on all data and has no split.
    """
    store = store or RunStore()
    _require_feasible(loaded)
    if parent is not None and parent.is_fitted_on_all:
        raise ConfigError(
            f"{parent.id}: was fitted on all data, so there is no split to use again; fit all data again: "
            f"recctl fit {parent.id} --all-data"
        )
    loaded, warm_start = find_warm_start(loaded, store)
    with engines.opened(loaded.config.engine):
        prepared, seconds = prepare_for(loaded, parent, evaluates=False)
        run = begin_from(store, loaded, "fit", prepared, seconds, parent, warm_start=warm_start)
        with recording(run, loaded.config) as trackers:
            stages.fit(run, loaded.config, prepared, trackers)
            drop_model(run)
    return run


@validated(loaded=_a_config, store=optional(a_store), parent=optional(a_run))
def fit_all_data(loaded: LoadedConfig, store: RunStore | None = None, parent: Run | None = None) -> Run:
    """Fit a model on everything that the source holds now, and save it. Nothing is held out, nor evaluated.

    Args:
        loaded: The config; its split is not used.
        store: The runs directory; the default one if None.
        parent: The run that the settings come from. A model that is trained in epochs is trained for as many as the
            parent's training chose.

    Raises:
        ConfigError: Early stopping is to choose the number of epochs, and no parent's training has chosen it.
    """
    store = store or RunStore()
    _require_feasible(loaded)
    loaded, warm_start = find_warm_start(loaded, store)
    n_epochs = epochs_to_train(loaded, parent, warm_start)
    with engines.opened(loaded.config.engine):
        prepared, seconds = prepare_for(loaded, make_split=all_train, evaluates=False)
        metadata = {layout.ALL_DATA: {"n_epochs": n_epochs}}
        run = begin_from(store, loaded, "fit", prepared, seconds, parent, warm_start=warm_start, **metadata)
        with recording(run, loaded.config) as trackers:
            stages.fit_on_all(run, loaded.config, prepared, n_epochs, trackers)
            drop_model(run)
    return run


@validated(run=a_run, overrides=arguments.overrides)
def resume(run: Run, overrides: Sequence[str] = ()) -> bool:
    """Resume a run that was interrupted, failed, or whose process died.

    Models that are trained in epochs continue from their last checkpoint and end with the same weights as without the
    interruption; other models are fitted again. The data and the split must be unchanged. Everything is checked before
    anything is written: a run that can't be resumed stays as it was.

    Args:
        run: The run.
        overrides: Where and how its data are read now, such as `data.source=FILE`; see `load_run_config`.

    Returns:
        False if the run is complete already.
    """
    if run.status == "complete":
        refuse_overrides_of_complete(run, overrides)
        return False
    run.require_idle()
    run_kind = run.metadata["kind"]
    if run_kind not in _RESUMABLE_KINDS:
        raise ConfigError(f"{run.id}: resume it with: {resume_command(run)}")
    loaded = load_run_config(run, overrides)
    if run_kind != "split":
        _require_resumable(run, loaded)
    with engines.opened(loaded.config.engine):
        prepared, _ = prepare_for(loaded, run)
        run.begin()
        with recording(run, loaded.config, resumed=True) as trackers:
            if run_kind == "train":
                stages.fit_and_evaluate(run, loaded.config, prepared, trackers)
            elif run.is_fitted_on_all:
                stages.fit_on_all(run, loaded.config, prepared, run.metadata[layout.ALL_DATA]["n_epochs"], trackers)
            elif run_kind == "fit":
                stages.fit(run, loaded.config, prepared, trackers)
            drop_model(run)
    return True


def evaluate(
    run: Run,
    on: stages.Part | None = None,
    data: str | Path | None = None,
    metrics: list[str] | None = None,
    k_values: list[int] | None = None,
    overrides: Sequence[str] = (),
) -> tuple[str, dict[str, float]]:
    """Evaluate a run's model and store the results; see `measure`, which returns all of the record.

    Returns:
        The name of the evaluated data (a part, or `file:` and its hash), and the metrics.
    """
    record = measure(run, on, data, metrics, k_values, overrides)
    return record.data.label, record.metrics


@validated(
    run=a_run,
    on=optional(_a_part),
    data=optional(arguments.path),
    metrics=optional(_metric_names),
    k_values=optional(_cutoffs),
    overrides=arguments.overrides,
)
def measure(
    run: Run,
    on: stages.Part | None = None,
    data: str | Path | None = None,
    metrics: list[str] | None = None,
    k_values: list[int] | None = None,
    overrides: Sequence[str] = (),
) -> EvaluationRecord:
    """Evaluate a run's model and store the results as a record of what was measured.

    Args:
        run: A run with a model.
        on: The held-out part; by default validation if there is one, else test.
        data: A file that is evaluated on instead of a part, such as next month's interactions. It is read as the run's
            own data, which themselves are not needed.
        metrics: Metrics instead of those of the run's config.
        k_values: Cutoffs instead of those of the run's config.
        overrides: Where and how data are read now, such as `data.source=FILE` or, for `data`, `data.delimiter=;`; or
            settings of the protocol, such as `evaluation.exclude=none`.

    Returns:
        The record, with the figures of this evaluation alone.

    Raises:
        ConfigError: A metric is unknown or means nothing for the model, such as RMSE if its scores are no ratings.
        DataError: The data or the split differ from those of the run, or `data` can't be read.
        ArtifactError: The run has no model, or its files are damaged.
    """
    with run.exclusive():
        return _evaluate(run, on, data, metrics, k_values, overrides)


def require_one_model(loaded: LoadedConfig) -> None:
    """Check that a config has a single model.

    Raises:
        ConfigError: It has several.
    """
    if loaded.config.models:
        raise ConfigError(f"{loaded.origin}: this command uses `model:`; `models:` is for `recctl compare`")


def _evaluate(
    run: Run,
    on: stages.Part | None,
    data: str | Path | None,
    metrics: list[str] | None,
    k_values: list[int] | None,
    overrides: Sequence[str],
) -> EvaluationRecord:
    if data is None and run.is_fitted_on_all:
        raise ArtifactError(
            f"{run.id}: was fitted on all data, so it has no held-out part to evaluate on; evaluate it on newer "
            f"interactions: recctl evaluate {run.id} --data FILE"
        )
    loaded = config_to_evaluate(run, data, overrides)
    config = loaded.config
    if metrics is not None:
        problems = list(metric_problems(metrics))
        if problems:
            raise ConfigError(*problems)
        config.evaluation = config.evaluation.model_copy(update={"metrics": metrics})
    if k_values is not None:
        config.evaluation = config.evaluation.model_copy(update={"k_values": k_values})
    model = stored_models.load_version(run)
    # Before the data are read, and a look at test is counted.
    require_meaningful(model, config.evaluation.metrics)
    if data is not None:
        tables = AttributeTables(loaded)
        tables.require_files()
        secondary = read_secondary(loaded, data, model.user_vocabulary, model.item_vocabulary)
        tables.require_groups(secondary.dataset)
        segments = make_segments(config, secondary.dataset, counts_of_models([model]), tables)
        record = stages.evaluate_and_store(run, secondary.measured, secondary.dataset, None, model, config, segments)
        notice_left_out(str(data), record.counts)
        return record
    prepared, _ = prepare_for(loaded, run)
    if prepared.tables is not None:
        # Before a look at test is counted.
        prepared.tables.require_groups(prepared.dataset)
    split_part: stages.Part = on or ("validation" if prepared.split.has_validation else "test")
    if split_part == "validation":
        # The newest model may be a refit, which was fitted on validation too.
        model = stages.load_fitted(run, stages.TRAIN) or model
    return stages.evaluate_part(run, split_part, prepared, model, config)


def config_to_evaluate(run: Run, data: str | Path | None, overrides: Sequence[str]) -> LoadedConfig:
    """Return the config that `measure` uses with these arguments."""
    settings = [override for override in overrides if override.startswith("evaluation.")]
    of_data = [override for override in overrides if override not in settings]
    if data is not None and any(override.startswith("data.source=") for override in of_data):
        raise ConfigError("--set data.source and --data: both name the file to evaluate on; give one of the two")
    return load_run_config(run, of_data, settings)


def _require_feasible(loaded: LoadedConfig) -> None:
    """Refuse before reading data what can't be done on this machine."""
    require_one_model(loaded)
    require_trackers(loaded.config)
    # Errors that need no data come first: reading may take minutes.
    stages.build_model(loaded.config).require_device()
    refuse_if_too_large(loaded.config)


def _require_resumable(run: Run, loaded: LoadedConfig) -> None:
    """Refuse before reading data what can't be done on this machine, or with the files that the run has."""
    model = stages.build_model(loaded.config)
    model.require_device()
    refuse_if_too_large(loaded.config)
    for model_entry in run.metadata["models"]:
        artifacts.load(run.path / model_entry["file"], "model", model_entry["sha256"])
    checkpoint_path = run.path / layout.CHECKPOINTS / layout.LAST_CHECKPOINT
    if not run.metadata["models"] and checkpoint_path.exists():
        load_checkpoint(checkpoint_path, model)


def _export_parts(prepared: Prepared, folder: str | Path) -> None:
    from recctl import atomic
    from recctl.data.splitting import PART_NAMES

    for part_code, part_name in enumerate(PART_NAMES):
        is_in_part = prepared.split.parts == part_code
        if not is_in_part.any():
            continue
        with atomic.replacing(Path(folder) / f"{part_name}.parquet") as file:
            prepared.dataset.take(is_in_part).data.to_parquet(file, index=False)
