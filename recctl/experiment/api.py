"""Split, fit, evaluate, save: what the verbs of the command line do, as functions."""

from __future__ import annotations

from pathlib import Path

from recctl import engines
from recctl.config import LoadedConfig
from recctl.errors import ConfigError
from recctl.experiment import stages
from recctl.experiment.config_checks import load
from recctl.experiment.data import Prepared, read_dataset
from recctl.experiment.estimate import refuse_hopeless
from recctl.experiment.lifecycle import begin, prepare_for, recording, resume_command
from recctl.experiment.trackers import require_trackers
from recctl.runs import Run, RunStore


def train(loaded: LoadedConfig, store: RunStore | None = None) -> Run:
    """Split, fit, evaluate and save: one run.

    Validation is for choosing; test is read once, at the end, for the record: with the model of `training.refit`,
    fitted on train and validation, where that is set.

    Raises:
        RecctlError: What went wrong; a run that was begun says so in its metadata.
    """
    _require_possible(loaded)
    with engines.opened(loaded.config.engine):
        prepared, seconds = prepare_for(loaded)
        run = begin(store or RunStore(), loaded, "train", prepared, seconds)
        with recording(run, loaded.config) as trackers:
            stages.fit_and_evaluate(run, loaded.config, prepared, trackers)
    return run


def split(loaded: LoadedConfig, store: RunStore | None = None, export: Path | None = None) -> Run:
    """A run that holds only the split.

    Args:
        loaded: The config.
        store: Where runs are kept.
        export: A folder to write the parts to, as Parquet.
    """
    prepared, seconds = prepare_for(loaded)
    run = begin(store or RunStore(), loaded, "split", prepared, seconds)
    with recording(run):
        if export is not None:
            _export_parts(prepared, export)
    return run


def fit(loaded: LoadedConfig, store: RunStore | None = None, parent: Run | None = None) -> Run:
    """Fit a model and save it, without evaluation.

    Args:
        loaded: The config.
        store: Where runs are kept.
        parent: A run whose split is used; made anew if None.
    """
    _require_possible(loaded)
    with engines.opened(loaded.config.engine):
        prepared, seconds = prepare_for(loaded, parent)
        run = begin(store or RunStore(), loaded, "fit", prepared, seconds, parent)
        with recording(run, loaded.config) as trackers:
            stages.fit(run, loaded.config, prepared, trackers)
    return run


def resume(run: Run) -> bool:
    """Go on with a run that was interrupted, failed or died; False if there is nothing to do.

    Models that are trained in epochs go on from their last checkpoint, and end as if nothing had happened; others are
    fitted again. The data and the split must be what they were.
    """
    if run.status == "complete":
        return False
    run.require_idle()
    if run.metadata["kind"] not in ("train", "fit", "split"):
        raise ConfigError(f"{run.id}: go on with: {resume_command(run)}")
    loaded = load(run.path / "config.yaml")
    with engines.opened(loaded.config.engine):
        prepared, _ = prepare_for(loaded, run)
        run.begin()
        with recording(run, loaded.config, resumed=True) as trackers:
            if run.metadata["kind"] == "train":
                stages.fit_and_evaluate(run, loaded.config, prepared, trackers)
            elif run.metadata["kind"] == "fit":
                stages.fit(run, loaded.config, prepared, trackers)
    return True


def evaluate(
    run: Run,
    on: stages.Part | None = None,
    data: LoadedConfig | None = None,
    metrics: list[str] | None = None,
    k_values: list[int] | None = None,
) -> tuple[str, dict[str, float]]:
    """Measure a run's model, and add the figures to the run's metrics.

    Args:
        run: A run with a model.
        on: Which held-out part; by default validation if there is one, else test.
        data: A config whose data are taken as relevant instead of a part, e.g. next month's interactions.
        metrics: Instead of those of the run's config.
        k_values: Instead of those of the run's config.

    Returns:
        What was measured on (a part, or the file), and the metrics.

    Raises:
        DataError: The data or the split are not what the run was made with.
        ArtifactError: The run has no model, or its files are damaged.
    """
    with run.exclusive():
        return _evaluate(run, on, data, metrics, k_values)


def _evaluate(
    run: Run,
    on: stages.Part | None,
    data: LoadedConfig | None,
    metrics: list[str] | None,
    k_values: list[int] | None,
) -> tuple[str, dict[str, float]]:
    loaded = load(run.path / "config.yaml")
    config = loaded.config
    changes = {"metrics": metrics, "k_values": k_values}
    config.evaluation = config.evaluation.model_copy(update={k: v for k, v in changes.items() if v is not None})
    model = stages.load_version(run)
    prepared, _ = prepare_for(loaded, run)
    if data is not None:
        relevant, _, _ = read_dataset(data)
        name = f"file:{Path(data.config.data.source).name}"
        history = prepared.split.train(prepared.dataset)
        return name, stages.measure_for(run, name, relevant, history, model, config)
    part: stages.Part = on or ("validation" if prepared.split.has_validation else "test")
    if part == "validation":  # a model that was fitted on it can't be judged by it
        model = stages.load_fitted(run, stages.TRAIN) or model
    return part, stages.evaluate_part(run, part, prepared, model, config)


def _require_possible(loaded: LoadedConfig) -> None:
    """Refuse what can't be done here, before anything is read."""
    require_one_model(loaded)
    require_trackers(loaded.config)
    stages.build_model(loaded.config).require_device()
    refuse_hopeless(loaded.config)


def require_one_model(loaded: LoadedConfig) -> None:
    """Refuse a config of several models.

    Raises:
        ConfigError: It is one.
    """
    if loaded.config.models:
        raise ConfigError(f"{loaded.origin}: models: several are for `recctl compare`; this fits the one of model:")


def _export_parts(prepared: Prepared, folder: Path) -> None:
    from recctl import atomic
    from recctl.data.splitting import PART_NAMES

    for code, name in enumerate(PART_NAMES):
        rows = prepared.split.parts == code
        if not rows.any():
            continue
        with atomic.replacing(folder / f"{name}.parquet") as file:
            prepared.dataset.take(rows).data.to_parquet(file, index=False)
