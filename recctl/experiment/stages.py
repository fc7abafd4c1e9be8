"""Fit the model of a run and measure it, a stage after another; a stage that is done is not done again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from recctl import progress
from recctl.config import Config
from recctl.data.dataset import InteractionDataset
from recctl.engines import require_disk, torch_distributed
from recctl.evaluation import Evaluator
from recctl.experiment.callbacks import ValidationMetrics, early_stopping, follow, follow_refit, telling_of_the_best
from recctl.experiment.data import Prepared
from recctl.experiment.monitors import selection_metric
from recctl.metrics import METRICS
from recctl.models.base import Recommender
from recctl.models.registry import load_model, make_model, model_class
from recctl.runs import Run
from recctl.tracking import Tracker

if TYPE_CHECKING:
    import pandas as pd

Part = Literal["validation", "test"]
TRAIN, TRAIN_AND_VALIDATION = "train", "train+validation"


def fit_and_evaluate(run: Run, config: Config, prepared: Prepared, trackers: Sequence[Tracker] = ()) -> None:
    """Fit on train, measure on validation, fit again on both if that is wanted, and read test."""
    model = fit(run, config, prepared, trackers)
    parts: list[Part] = ["validation", "test"] if prepared.split.has_validation else ["test"]
    for part in parts:
        if part == "test" and config.training.refit:
            model = refit(run, config, prepared, model)
        with run.timed(f"evaluate_{part}"):
            metrics = evaluate_part(run, part, prepared, model, config)
        if part == parts[0]:
            run.metadata["monitor"] = selection_metric(config, metrics)


def fit(run: Run, config: Config, prepared: Prepared, trackers: Sequence[Tracker] = ()) -> Recommender:
    """The model of a run, fitted on train; trackers are told of its epochs, where it has some."""
    return load_fitted(run, TRAIN) or _fit_on_train(run, config, prepared, trackers)


def fit_trial(run: Run, config: Config, prepared: Prepared, trial: int) -> Recommender:
    """The same for the point of a trial: what was fitted stays as a version, what was begun goes."""
    shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
    (run.path / "history.jsonl").unlink(missing_ok=True)
    return _fit_on_train(run, config, prepared, trial=trial)


def _fit_on_train(
    run: Run, config: Config, prepared: Prepared, trackers: Sequence[Tracker] = (), trial: int | None = None
) -> Recommender:
    model = build_model(config)
    validation = prepared.split.validation(prepared.dataset) if prepared.split.has_validation else None
    stopping = early_stopping(config)
    followed = []
    if model.trained_in_epochs:
        followed = [*follow(run, config, stopping, validation is not None), *trackers]
    measure = None if validation is None else ValidationMetrics(config, validation)
    _fit(run, model, prepared.split.train(prepared.dataset), "fit", validation=measure, callbacks=followed)
    if stopping:
        run.metadata["training"] = {"monitor": stopping.monitor} | {
            name: getattr(stopping, name) for name in ("best_epoch", "best_score", "early_stop")
        }
    if convergence := model.convergence():
        run.metadata["convergence"] = convergence
    return _saved(run, model, TRAIN, trial)


def refit(run: Run, config: Config, prepared: Prepared, chosen: Recommender) -> Recommender:
    """The model of a run, fitted anew on train and validation: for the epochs that were chosen, where it has some."""
    if (done := load_fitted(run, TRAIN_AND_VALIDATION)) is not None:
        return done
    model = build_model(config)
    n_epochs: int | None = getattr(chosen, "chosen_epoch", None)
    followed = [] if n_epochs is None else follow_refit(run, config, n_epochs)
    _fit(run, model, prepared.split.train_and_validation(prepared.dataset), "refit", callbacks=followed)
    saved = _saved(run, model, TRAIN_AND_VALIDATION)
    (run.path / "checkpoints" / "refit.pkl").unlink(missing_ok=True)
    return saved


def build_model(config: Config) -> Recommender:
    """The model of a config, not fitted; the experiment's seed is its own unless it is given one."""
    params = dict(config.model.params)
    if "seed" in model_class(config.model.name).parameters:
        params.setdefault("seed", config.seed)
    return make_model(config.model.name, **params)


def load_fitted(run: Run, fitted_on: str) -> Recommender | None:
    """A run's newest model that was fitted on this; None if it has none.

    One that was fitted on validation too belongs to the one on train before it.
    """
    for entry in reversed(run.metadata["models"]):
        if entry["fitted_on"] == fitted_on:
            return load_version(run, entry["version"])
        if entry["fitted_on"] == TRAIN:
            break
    return None


def load_version(run: Run, version: int | None = None) -> Recommender:
    """A run's model, by default its newest; the hash in the run's metadata is checked first."""
    entry = run.model_entry(version)
    return load_model(run.path / entry["file"], entry["sha256"])


def _fit(run: Run, model: Recommender, interactions: InteractionDataset, stage: str, **how: Any) -> None:
    run.log(f"{stage}: {model!r} on {interactions!r}")
    size = interactions.n_users, interactions.n_items, len(interactions)
    model.require_memory_for(*size)
    require_disk(model.estimate_file(*size), run.path, f"{model.name}: its model")
    led = torch_distributed.is_leader() and hasattr(model, "assist")
    if led:
        torch_distributed.send({"config": run.config_text(), "interactions": interactions.content_hash()})
    with run.timed(stage), progress.task(f"Fitting {model.name}"), telling_of_the_best(run):
        model.fit(interactions, **how)
    if led:
        torch_distributed.send(None)


def _saved(run: Run, model: Recommender, fitted_on: str, trial: int | None = None) -> Recommender:
    with run.timed("save"), progress.task("Saving"):
        run.save_model(model, fitted_on, trial)
    return model


# ---- measuring


@dataclass(frozen=True, eq=False)
class ModelEvaluation:
    """What the tasks of a config's metrics came to.

    Attributes:
        metrics: Each metric's value, by key.
        per_user: `user_id`, a column for each metric that is a mean over users, `n_relevant`, and `n_rated` where
            ratings were judged beside rankings.
        record: What was judged and how, by task.
    """

    metrics: dict[str, float]
    per_user: pd.DataFrame
    record: dict[str, Any]


def evaluate_part(run: Run, part: Part, prepared: Prepared, model: Recommender, config: Config) -> dict[str, float]:
    """Measure on a held-out part, and keep the figures with the run."""
    relevant = getattr(prepared.split, part)(prepared.dataset)
    if part == "test":
        run.metadata["test_looks"] += 1
    return measure_for(run, part, relevant, relevant.history, model, config)


def measure_for(
    run: Run,
    name: str,
    relevant: InteractionDataset,
    history: InteractionDataset | None,
    model: Recommender,
    config: Config,
) -> dict[str, float]:
    """Measure on interactions, and keep the figures with the run under a name."""
    measured = evaluate_model(model, relevant, history, config)
    run.save_per_user({name: measured.per_user})  # first: figures that stand in metrics.json can be retraced
    run.add_metrics(name, measured.metrics)
    run.metadata.setdefault("evaluation", {})[name] = measured.record
    run.save_metadata()
    return measured.metrics


def evaluate_model(
    model: Recommender, relevant: InteractionDataset, history: InteractionDataset | None, config: Config
) -> ModelEvaluation:
    """Measure what a config's evaluation says."""
    section = config.evaluation
    metrics: dict[str, float] = {}
    record: dict[str, Any] = {}
    tables: list[pd.DataFrame] = []
    for task in ("ranking", "rating_prediction"):
        names = [metric for metric in section.metrics if METRICS[metric].task == task]
        if not names:
            continue
        result = make_evaluator(config, names, section.k_values).evaluate_users(
            model, relevant, task, train_data=history
        )
        metrics |= result.metrics
        record[task] = result.record()
        tables.append(result.per_user.set_index("user_id"))
    table = tables[0]
    for other in tables[1:]:
        table = table.join(other.rename(columns={"n_relevant": "n_rated"}), how="outer")
    return ModelEvaluation(metrics, table.reset_index(), record)


def make_evaluator(config: Config, metrics: Sequence[str], k_values: Sequence[int]) -> Evaluator:
    """The evaluator of some metrics, with everything else as a config has it."""
    section = config.evaluation
    return Evaluator(
        metrics,
        k_values,
        n_candidates=section.n_candidates,
        relevance_threshold=section.relevance_threshold,
        on_unknown=section.on_unknown,
        seed=config.seed,
    )
