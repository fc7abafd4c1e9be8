"""Stages of a run: fit, evaluate, refit. A stage that an interrupted run has completed is not repeated."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from recctl import progress
from recctl.config import Config
from recctl.data.dataset import InteractionDataset
from recctl.engines import require_disk, torch_distributed
from recctl.evaluation import Evaluator
from recctl.evaluation.eval_users import KnownPairs
from recctl.evaluation.segments import Segment, segment_records
from recctl.experiment.callbacks import (
    ValidationMetrics,
    all_data_callbacks,
    early_stopping,
    refit_callbacks,
    report_best_checkpoint,
    training_callbacks,
)
from recctl.experiment.data import Prepared
from recctl.experiment.monitors import selection_metric
from recctl.experiment.popularity_baseline import accuracy_metric, popularity_baseline
from recctl.experiment.segments import counts_of_data, make_segments
from recctl.experiment.stored_models import load_version
from recctl.experiment.warm_start import load_kept
from recctl.metrics import METRICS
from recctl.models.base import Recommender
from recctl.models.base.epoch_recommender import EpochRecommender
from recctl.models.registry import make_model, model_class
from recctl.runs import Run, layout
from recctl.runs.evaluations import NOT_FITTED, EvaluationRecord, MeasuredData, MeasuredModel, measured_model_entry
from recctl.runs.store import run_hashes
from recctl.tracking import Tracker

if TYPE_CHECKING:
    import pandas as pd

    from recctl.training import EarlyStopping

Part = Literal["validation", "test"]
TRAIN = "train"
TRAIN_AND_VALIDATION = "train+validation"
ALL = "all"


def fit_and_evaluate(run: Run, config: Config, prepared: Prepared, trackers: Sequence[Tracker] = ()) -> None:
    """Fit on train, evaluate on validation, refit on both if `training.refit` is set, and evaluate on test."""
    model = fit(run, config, prepared, trackers)
    split_parts: list[Part] = ["validation", "test"] if prepared.split.has_validation else ["test"]
    for split_part in split_parts:
        if split_part == "test" and config.training.refit:
            model = refit(run, config, prepared, model)
        with run.timed(f"evaluate_{split_part}"):
            metrics = evaluate_part(run, split_part, prepared, model, config).metrics
        # Validation selects runs; test does so only in runs that have no validation part.
        if split_part == split_parts[0]:
            run.metadata["monitor"] = selection_metric(config, metrics)
            # The model was fitted on train: without validation data, a refit is the same as a fit.
            run.metadata["baseline"] = compare_with_popularity(run, split_part, prepared, config, model)


def fit(run: Run, config: Config, prepared: Prepared, trackers: Sequence[Tracker] = ()) -> Recommender:
    """Return the model of a run fitted on train; it is loaded if the run has it already.

    Args:
        run: The run; stores the model.
        config: Its config.
        prepared: Its data set and split.
        trackers: Receive the metrics of each epoch of models that are trained in epochs.
    """
    return load_fitted(run, TRAIN) or _fit_on_train(run, config, prepared, trackers)


def fit_trial(run: Run, config: Config, prepared: Prepared, trial: int) -> Recommender:
    """Fit the model of a tuning trial as a new version; checkpoints and history of an earlier fit are deleted."""
    # They belong to another model: training would resume from them.
    shutil.rmtree(run.path / layout.CHECKPOINTS, ignore_errors=True)
    (run.path / layout.HISTORY).unlink(missing_ok=True)
    return _fit_on_train(run, config, prepared, trial=trial)


def refit(run: Run, config: Config, prepared: Prepared, selected: Recommender) -> Recommender:
    """Return the model of a run fitted on train + validation; it is loaded if the run has it already.

    Args:
        run: The run; stores the model.
        config: Its config.
        prepared: Its data set and split.
        selected: The model fitted on train. Models that are trained in epochs are refitted for its best epoch.
    """
    if (existing := load_fitted(run, TRAIN_AND_VALIDATION)) is not None:
        return existing
    model = build_model(config)
    # Only models that are trained in epochs have it. The others are fitted until they converge.
    n_epochs: int | None = getattr(selected, "best_epoch", None)
    callbacks = []
    if n_epochs is not None:
        callbacks = refit_callbacks(run, config, n_epochs)
    interactions = prepared.split.train_and_validation(prepared.dataset)
    _fit(run, model, interactions, "refit", callbacks=callbacks)
    _save(run, model, TRAIN_AND_VALIDATION, interactions)
    # After the model is saved: an interruption before that resumes from the checkpoint.
    (run.path / layout.CHECKPOINTS / layout.REFIT_CHECKPOINT).unlink(missing_ok=True)
    return model


def fit_on_all(
    run: Run, config: Config, prepared: Prepared, n_epochs: int | None, trackers: Sequence[Tracker] = ()
) -> Recommender:
    """Return the model of a run fitted on all of its data; it is loaded if the run has it already.

    Args:
        run: The run; stores the model.
        config: Its config.
        prepared: Its data set.
        n_epochs: Number of epochs of a model that is trained in epochs; None: those of the config.
        trackers: Receive the loss of each epoch.
    """
    if (existing := load_fitted(run, ALL)) is not None:
        return existing
    model = build_model(config)
    # Without a number of epochs, a training may still stop early by its loss, which needs no validation.
    stopping = early_stopping(config) if n_epochs is None else None
    callbacks = []
    if model.trained_in_epochs:
        callbacks = all_data_callbacks(run, config, stopping, n_epochs)
        callbacks.extend(trackers)
    _fit(run, model, prepared.dataset, "fit", callbacks=callbacks)
    _record_training(run, model, stopping)
    _save(run, model, ALL, prepared.dataset)
    return model


def build_model(config: Config) -> Recommender:
    """Make the model of a config, not fitted. It uses the seed of the experiment unless it is given its own."""
    params = dict(config.model.params)
    if "seed" in model_class(config.model.name).parameters:
        # A seed among the hyperparameters wins, so that `tune` and `compare --seeds` can vary it on one split.
        params.setdefault("seed", config.seed)
    return make_model(config.model.name, **params)


def load_fitted(run: Run, fitted_on: str) -> Recommender | None:
    """Load the newest model of a run that was fitted on `fitted_on`; return None if there is none.

    A model fitted on train + validation counts only if no model was fitted on train after it: it is the refit of the
    model before it.
    """
    for model_entry in reversed(run.metadata["models"]):  # newest first
        if model_entry["fitted_on"] == fitted_on:
            return load_version(run, model_entry["version"])
        # A newer model on train, from more trials, makes an older refit obsolete.
        if model_entry["fitted_on"] == TRAIN:
            break
    return None


def _fit_on_train(
    run: Run, config: Config, prepared: Prepared, trackers: Sequence[Tracker] = (), trial: int | None = None
) -> Recommender:
    model = build_model(config)
    validate = None
    if prepared.split.has_validation:
        validate = ValidationMetrics(config, prepared.split.validation(prepared.dataset))
    stopping = early_stopping(config)
    callbacks = []
    if model.trained_in_epochs:
        callbacks = training_callbacks(run, config, stopping, validate is not None)
        callbacks.extend(trackers)
    interactions = prepared.split.train(prepared.dataset)
    _fit(run, model, interactions, "fit", validation=validate, callbacks=callbacks)
    _record_training(run, model, stopping)
    _save(run, model, TRAIN, interactions, trial)
    return model


def _record_training(run: Run, model: Recommender, stopping: EarlyStopping | None) -> None:
    if stopping is not None:
        run.metadata["training"] = {
            "monitor": stopping.monitor,
            "best_epoch": stopping.best_epoch,
            "best_score": stopping.best_score,
            "early_stop": stopping.early_stop,
        }
    # For `diagnose`, which reports solvers that stopped at their limit.
    if convergence := model.convergence():
        run.metadata["convergence"] = convergence


def _fit(run: Run, model: Recommender, interactions: InteractionDataset, stage: str, **fit_options: Any) -> None:
    run.log(f"{stage}: {model!r} on {interactions!r}")
    data_size = (interactions.n_users, interactions.n_items, len(interactions))
    # Checked here, too, although `fit` does: before the checkpoints and the message to other processes.
    model.require_memory_for(*data_size)
    require_disk(model.estimate_file(*data_size), run.path, f"{model.name}: its model")
    # Under torchrun the other processes wait for this message and take part in the fit: see distributed.py.
    is_distributed = torch_distributed.is_leader() and hasattr(model, "assist")
    if is_distributed:
        message = {"config": run.config_text(), "parts": run.split_parts(), "interactions": interactions.content_hash()}
        torch_distributed.send(message)
    warm_start = load_kept(run)
    if warm_start is not None:
        fit_options["warm_start"] = warm_start
    with run.timed(stage), report_best_checkpoint(run):
        model.fit(interactions, **fit_options)
    # A run resumes from its checkpoints: the model is not trained further.
    if isinstance(model, EpochRecommender):
        model.drop_training_state()
    if is_distributed:
        torch_distributed.send(None)


def _save(
    run: Run, model: Recommender, fitted_on: str, interactions: InteractionDataset, trial: int | None = None
) -> None:
    with run.timed("save"), progress.task("Saving"):
        run.save_model(model, fitted_on, trial, last_timestamp=_last_timestamp(run, interactions))


def _last_timestamp(run: Run, interactions: InteractionDataset) -> float | None:
    """The newest timestamp of what a model was fitted on, for `train --test-since`, which tests on what is newer."""
    newest = interactions.last_timestamp()
    # A model knows what the model knew that it began from.
    inherited: float | None = (run.metadata.get(layout.WARM_START) or {}).get("last_timestamp")
    if newest is None or inherited is None:
        return newest
    return max(newest, inherited)


# ---- evaluation


@dataclass(frozen=True, eq=False)
class ModelEvaluation:
    """Results of all tasks (ranking, rating prediction) that the metrics of a config belong to.

    Attributes:
        metrics: Values by metric key.
        per_user: Columns `user_id`, each metric that is a mean over users, `n_relevant`, and `n_rated` if ratings were
            predicted as well as items ranked.
        counts: Numbers of users and interactions that were measured or left out, by task.
        segments: By key of each segment, a table like `per_user` of its users.
    """

    metrics: dict[str, float]
    per_user: pd.DataFrame
    counts: dict[str, Any]
    segments: dict[str, pd.DataFrame]


def evaluate_part(run: Run, part: Part, prepared: Prepared, model: Recommender, config: Config) -> EvaluationRecord:
    """Evaluate on a held-out part and store the results in the run; evaluations of test are counted."""
    relevant = getattr(prepared.split, part)(prepared.dataset)
    # Counted before the evaluation, so that an interrupted one counts too.
    if part == "test":
        run.metadata["test_looks"] += 1
        run.save_metadata()
    data_hash, split_hash = run_hashes(run)
    measured = MeasuredData(part, data_hash, split_hash)
    segments: list[Segment] = []
    if config.evaluation.segments and prepared.tables is not None:
        fitted = _fitted_data(run, part, prepared, config)
        segments = make_segments(config, relevant, counts_of_data(fitted), prepared.tables)
    return evaluate_and_store(run, measured, relevant, relevant.history, model, config, segments)


def _measured_entry(run: Run, part: str | None) -> dict[str, Any]:
    return measured_model_entry(run.measured_entries, part) or run.model_entry()


def _fitted_data(run: Run, part: Part, prepared: Prepared, config: Config) -> InteractionDataset:
    """What the measured model was fitted on; of lists that were made elsewhere: what the models beside them are."""
    fitted_on = _measured_entry(run, part)["fitted_on"]
    if fitted_on == NOT_FITTED:
        fitted_on = TRAIN_AND_VALIDATION if part == "test" and config.training.refit else TRAIN
    if fitted_on == TRAIN:
        return prepared.split.train(prepared.dataset)
    return prepared.split.train_and_validation(prepared.dataset)


def evaluate_and_store(
    run: Run,
    measured: MeasuredData,
    relevant: InteractionDataset,
    history: InteractionDataset | None,
    model: Recommender,
    config: Config,
    segments: Sequence[Segment] = (),
) -> EvaluationRecord:
    """Evaluate on `relevant`, and store the results in the run as a record of what was measured."""
    evaluation = evaluate_model(model, relevant, history, config, segments=segments)
    model_entry = _measured_entry(run, measured.part)
    record = EvaluationRecord(
        measured,
        MeasuredModel(model_entry["version"], model_entry["sha256"], model_entry["fitted_on"]),
        make_evaluator(config, config.evaluation.metrics, config.evaluation.k_values).settings,
        datetime.now(UTC).isoformat(timespec="seconds"),
        evaluation.counts,
        evaluation.metrics,
        segment_records(segments, evaluation.segments, config.seed),
    )
    run.add_evaluation(record, evaluation.per_user, evaluation.segments)
    return record


def evaluate_model(
    model: Recommender,
    relevant: InteractionDataset,
    history: InteractionDataset | None,
    config: Config,
    excluded: Sequence[KnownPairs] = (),
    segments: Sequence[Segment] = (),
) -> ModelEvaluation:
    """Evaluate the metrics of a config.

    Args:
        model: A fitted model.
        relevant: The held-out interactions.
        history: Interactions of users that the model was not fitted on, by which it serves them.
        config: Its section `evaluation` is used.
        excluded: Other pairs that are neither candidates nor relevant; see `Evaluator.evaluate_users`.
        segments: Groups that are measured separately; those of the config are not made here.
    """
    section = config.evaluation
    metrics: dict[str, float] = {}
    counts: dict[str, Any] = {}
    tables: list[pd.DataFrame] = []
    segment_tables: dict[str, list[pd.DataFrame]] = {segment.key: [] for segment in segments}
    for task in ("ranking", "rating_prediction"):
        metric_names = [metric for metric in section.metrics if METRICS[metric].task == task]
        if not metric_names:
            continue
        # An evaluator for each task: the users of ranking and of rating prediction differ.
        evaluator = make_evaluator(config, metric_names, section.k_values)
        result = evaluator.evaluate_users(
            model, relevant, task, train_data=history, excluded=excluded, segments=segments
        )
        metrics |= result.metrics
        counts[task] = result.record()
        tables.append(result.per_user)
        for key, table in result.segments.items():
            segment_tables[key].append(table)
    joined_segments = {key: _join_tasks(tables_of_segment) for key, tables_of_segment in segment_tables.items()}
    return ModelEvaluation(metrics, _join_tasks(tables), counts, joined_segments)


def _join_tasks(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join the values of users of several tasks."""
    joined = tables[0].set_index("user_id")
    for table in tables[1:]:
        # An outer join: some users have ratings that can be predicted but no relevant items, and vice versa.
        of_task = table.set_index("user_id").rename(columns={"n_relevant": "n_rated"})
        joined = joined.join(of_task, how="outer")
    return joined.reset_index()


def compare_with_popularity(
    run: Run, part: Part, prepared: Prepared, config: Config, fitted_on_train: Recommender | None = None
) -> dict[str, Any] | None:
    """Compare the run's model with popularity on an evaluated part; see `popularity_baseline`."""
    metric_key = accuracy_metric(run, part)
    if metric_key is None:
        return None
    cutoffs = [metric_key.k] if metric_key.k else config.evaluation.k_values
    evaluator = make_evaluator(config, [metric_key.name], cutoffs)
    with run.timed("baseline"), progress.task("Comparing with popularity"):
        return popularity_baseline(run, part, prepared, metric_key, evaluator, fitted_on_train)


def make_evaluator(config: Config, metrics: Sequence[str], k_values: Sequence[int]) -> Evaluator:
    """Make an evaluator with the protocol of a config, for some metrics and cutoffs."""
    section = config.evaluation
    return Evaluator(
        metrics,
        k_values,
        n_candidates=section.n_candidates,
        relevance_threshold=section.relevance_threshold,
        on_unknown=section.on_unknown,
        exclude=section.exclude,
        gain=section.gain,
        seed=config.seed,
    )
